"""Runs by the modern recipes with a small network and made-up images, and the accuracies of all their weights."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_sd import applications, training

CLASSES = 3


class Blobs:
    """A data set as `training` needs one: classes differ in color, half of the training images are mixed."""

    name, class_names, num_classes, input_shape = "blobs", ("a", "b", "c"), CLASSES, (4, 4, 3)

    def __init__(self, mixed):
        self.mixed = mixed
        self.asked = []

    def images(self, labels, seed):
        noise = np.random.default_rng(seed).normal(0, 0.3, (len(labels), 4, 4, 3))
        return (noise + np.eye(3)[labels][:, None, None]).astype("float32")

    def part(self, name):
        labels = np.arange(24) % CLASSES
        return self.images(labels, {"train": 0, "validation": 1, "test": 2}[name]), labels

    def steps_per_epoch(self, batch_size):
        return 24 // batch_size

    def batches(self, part, batch_size=8):
        return tf.data.Dataset.from_tensor_slices(self.part(part)).batch(batch_size)

    def training_batches(self, batch_size, seed=0, first_step=0, **augmentations):
        self.asked.append(augmentations)
        images, labels = self.part("train")
        if augmentations.get("mixup"):
            labels = 0.7 * np.eye(CLASSES)[labels] + 0.3 * np.eye(CLASSES)[labels[::-1]]
            images = 0.7 * images + 0.3 * images[::-1]
        return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size).repeat().skip(first_step)

    def describe(self):
        sizes = dict.fromkeys(("train", "validation", "test"), 24)
        images = {"input_shape": [4, 4, 3], "mean": [0.0] * 3, "std": [1.0] * 3, "white": 255}
        return {"name": self.name, **sizes, **images, "class_names": list(self.class_names)}


def prepared(recipe, epochs=8, **changes):
    config = training.resolve(
        recipe=recipe, epochs=epochs, batch_size=8, learning_rate=0.05, ema_momentum=0.5, **changes
    )
    config = dataclasses.replace(config, model="small", data="blobs", recalibrate=True)
    keras.utils.set_random_seed(0)
    arguments = {"classifier_activation": config.model_arguments.get("classifier_activation", "softmax")}
    arguments |= {"survival_probability": config.survival_probability, "seed": 0}
    model = applications.ResNet(
        depth=8, filters=(4, 4, 8), stem_filters=4, input_shape=(4, 4, 3), classes=CLASSES, weights=None, **arguments
    )
    return model, Blobs(config.mixup), config


def run(tmp_path, recipe, **changes):
    model, dataset, config = prepared(recipe, **changes)
    folder = training.RunFolder.create(tmp_path / recipe)
    return model, dataset, config, folder, training.train(model, dataset, config, folder)


@pytest.fixture(scope="module", params=["resnet_imagenet_modern", "rsb_a3"])
def trained(request, tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"), request.param)


def accuracy(model, dataset):
    images, labels = dataset.part("test")
    return float((model.predict(images, verbose=0).argmax(1) == labels).mean())


@pytest.mark.slow
def test_a_modern_recipe_learns(trained):
    _, dataset, config, _, results = trained
    assert results["status"] == "complete"
    assert results["test_accuracy_final"] > 0.6
    plain = {"augmentation": config.augmentation}
    if config.recipe == "resnet_imagenet_modern":
        plain["repeats"] = 4
    mixed = plain | {"mixup": config.mixup, "cutmix": config.cutmix}
    assert dataset.asked == [mixed, plain, plain]  # training; recalibration of the average, and of the last weights


@pytest.mark.slow
def test_all_weights_are_tested(trained):
    _, dataset, config, folder, results = trained
    model = keras.saving.load_model(folder.model)
    assert results["test_accuracy_final"] == pytest.approx(accuracy(model, dataset))
    training.recalibrate_by(model, dataset, config)
    assert results["test_accuracy_recalibrated"] == pytest.approx(accuracy(model, dataset))
    with training.averaged(model):
        average = model.trainable_weights[0].numpy()
        training.recalibrate_by(model, dataset, config)
        assert results["test_accuracy_ema_recalibrated"] == pytest.approx(accuracy(model, dataset))
    model.load_weights(folder.ema_weights)
    np.testing.assert_array_equal(model.trainable_weights[0].numpy(), average)
    assert results["test_accuracy_ema_recalibrated"] == pytest.approx(accuracy(model, dataset))
    model.load_weights(folder.best_weights)
    assert results["test_accuracy"] == pytest.approx(accuracy(model, dataset))


@pytest.mark.slow
def test_the_optimizer_is_the_recipes(trained):
    model, _, config, _, _ = trained
    assert isinstance(model.optimizer, {"sgd": training.SGD, "lamb": training.LAMB}[config.optimizer])
    assert model.optimizer.l2 == config.l2
    assert model.optimizer.decay_norm_and_bias is False
    assert model.optimizer.ema_momentum == 0.5


@pytest.mark.slow
def test_a_limited_run_takes_so_many_batches(tmp_path):
    model, dataset, _, folder, results = run(tmp_path, "resnet_imagenet_modern", steps_per_epoch=1)
    assert int(keras.saving.load_model(folder.model).optimizer.iterations) == 8
    images, labels = dataset.part("test")
    expected = (model.predict(images[:8], verbose=0).argmax(1) == labels[:8]).mean()
    assert results["test_accuracy"] == pytest.approx(expected)


class Killed(keras.callbacks.Callback):
    """Ends a run in its second epoch, between two checkpoints."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 5:
            raise SystemExit


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_average_and_warm_up(tmp_path):
    changes = {"epochs": 3, "survival_warmup": 1.0, "survival_probability": 0.5}
    whole = run(tmp_path / "whole", "fast_cifar", **changes)
    model, dataset, config = prepared("fast_cifar", **changes)
    folder = training.RunFolder.create(tmp_path / "killed")
    with pytest.raises(SystemExit):
        training.train(model, dataset, config, folder, [Killed()], checkpoint_steps=4)
    model, dataset, _ = prepared("fast_cifar", **changes)
    results = training.train(model, dataset, config, folder, resume=True, checkpoint_steps=4)
    for name, value in whole[-1].items():
        if name.startswith("test_accuracy"):
            assert results[name] == value
    for one, other in ((folder.ema_weights, whole[3].ema_weights), (folder.best_weights, whole[3].best_weights)):
        model.load_weights(one)
        found = [w.numpy() for w in model.weights]
        model.load_weights(other)
        for weight, value in zip(model.weights, found):
            np.testing.assert_allclose(weight.numpy(), value, rtol=1e-5, atol=1e-7)
