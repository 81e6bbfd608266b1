"""Fine-tuning by a configuration: which weights move when, at which rate, and how images are prepared."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers import keras_sd, noise
from PIL import Image

from keras_sd import applications, data, training, weights
from keras_sd.runs import networks
from keras_sd.training.learning_rates import HeadFirstSchedule, learning_rates
from keras_sd.training.overrides import Overrides
from keras_sd.weights import WEIGHTS, Preprocessing
from keras_sd.weights.preprocessing import Preprocessor

CONFIG = dataclasses.replace(
    training.resolve("digits"),
    model="tiny",
    epochs=3,
    batch_size=128,
    steps_per_epoch=2,
    learning_rate=0.01,
    learning_rate_schedule="cosine",
    survival_probability=1.0,
    head_epochs=1,
)


def tiny():
    keras.utils.set_random_seed(0)
    under = [keras.layers.Flatten(), keras.layers.Dense(8, name="dense"), keras.layers.BatchNormalization(name="bn")]
    head = keras.layers.Dense(10, "softmax", name="predictions")
    return keras.Sequential([keras.Input((8, 8, 1)), *under, head])


class Moves(keras.callbacks.Callback):
    """Records after each epoch which weights have moved in it."""

    def __init__(self):
        super().__init__()
        self.moved = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = [weight.numpy() for weight in self.model.weights]

    def on_epoch_end(self, epoch, logs=None):
        pairs = zip(self.model.weights, self.before)
        self.moved.append({weight.path.split("/")[-2] for weight, old in pairs if (weight.numpy() != old).any()})


def train(path, digits, callbacks=(), resume=False, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    folder = training.RunFolder(path) if resume else training.RunFolder.create(path)
    model = tiny()
    return model, training.train(model, digits, config, folder, callbacks, resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freeze", "moved"),
    [
        (None, {"dense", "bn", "predictions"}),
        ("batch_norm", {"dense", "predictions"}),
        ("dense", {"predictions"}),
        ("backbone", {"predictions"}),
    ],
)
def test_the_head_moves_first_and_then_all_that_is_not_frozen(tmp_path, digits, freeze, moved):
    moves = Moves()
    train(tmp_path / "run", digits, [moves], freeze=freeze)
    assert moves.moved == [{"predictions"}, moved, moved]


@pytest.mark.slow
def test_a_resumed_run_ends_as_if_it_had_not_stopped(tmp_path, digits):
    """Stopped in the first epoch that trains more than the head; resumed from the end of the one before it."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError

    whole, results = train(tmp_path / "whole", digits, deterministic=True)
    with pytest.raises(RuntimeError):
        train(tmp_path / "stopped", digits, [Stop()], deterministic=True)
    again, resumed = train(tmp_path / "stopped", digits, resume=True, deterministic=True)
    assert all((a == b).all() for a, b in zip(whole.get_weights(), again.get_weights()))
    assert resumed["test_accuracy"] == results["test_accuracy"]


@pytest.mark.slow
def test_averages_of_weights_that_did_not_move_are_the_weights(tmp_path, digits):
    """Three epochs train only the head, and at a rate of almost 0 no weight moves in the fourth."""
    model, _ = train(tmp_path / "run", digits, epochs=4, head_epochs=3, learning_rate=1e-12, ema_momentum=0.5)
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    with training.averaged(model):
        for old, variable in zip(before, model.trainable_variables):
            np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), old, rtol=1e-5, atol=1e-6)


def test_rates():
    """Ten times the rate for the head; schedule and warm-up begin after it."""
    config = dataclasses.replace(CONFIG, epochs=10, head_epochs=2, warmup_epochs=1)
    schedule = learning_rates(config, 1000)
    assert [round(float(schedule(step)), 6) for step in (0, 199, 200, 300, 650)] == [
        0.1,
        0.1,
        0.0001,
        0.01,
        pytest.approx(0.005),
    ]
    again = HeadFirstSchedule.from_config(json.loads(json.dumps(schedule.get_config())))
    assert [float(again(step)) for step in (0, 250, 999)] == [float(schedule(step)) for step in (0, 250, 999)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """An exported folder with the weights of a small network."""
    folder = tmp_path_factory.mktemp("published")
    small = ("--model", "MLP", "--set", "model_arguments.widths=[8]", "--epochs", 2)
    process = keras_sd("train", *small, "--out", folder / "run")
    assert process.exit_code == 0, process.output
    assert keras_sd("export", folder / "run", folder / "out").exit_code == 0
    return folder / "out"


def from_weights(published):
    """The configuration of a run on digits that begins with an exported folder."""
    settings = {"model_arguments.weights": str(published)}
    return networks.configure(Overrides(data="digits", model="MLP", settings=settings))


@pytest.mark.slow
def test_weights_decide_recipe_size_and_preprocessing(published):
    config = from_weights(published)
    assert (config.recipe, config.image_size, config.preprocessing) == ("finetune", 8, "weights")
    own = networks.configure(Overrides(data="digits", model="MLP", recipe="digits"))
    assert (own.preprocessing, own.new_head, own.image_size) == ("data", False, None)
    published_ones = {"model_arguments.weights": "cifar10"}
    constant = networks.configure(Overrides(data="digits", model="ResNet20", settings=published_ones))
    assert (constant.model_arguments, constant.image_size) == ({"scaling": "training", "weights": "cifar10"}, 32)
    small = networks.configure(Overrides(data="folder:somewhere"))
    assert (small.recipe, small.image_size) == ("small_images", 32)


def test_statistics_are_those_of_the_data_where_the_weights_have_none(tmp_path):
    file = tmp_path / "w.safetensors"
    weights.save(applications.MLP(widths=(4,), input_shape=(8, 8, 1)), file)
    arguments = {"weights": str(file), "widths": [4]}
    config = networks.configure(Overrides(data="digits", model="MLP", settings={"model_arguments": arguments}))
    assert config.preprocessing == "data"
    assert networks.load_data(config).mean == data.load("digits").mean


def test_new_head(published):
    """As many classes as the weights have, and yet another classifier; all else is theirs."""
    config = from_weights(published)
    model, trained = networks.make(config, (8, 8, 1), 10), applications.MLP(weights=published)
    *same, kernel, _ = [(a == b).all() for a, b in zip(model.get_weights(), trained.get_weights())]
    assert all(same)
    assert not kernel
    kept = networks.make(dataclasses.replace(config, new_head=False), (8, 8, 1), 10)
    assert all((a == b).all() for a, b in zip(kept.get_weights(), trained.get_weights()))


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(size=6, interpolation=None),
        Preprocessing(size=6, interpolation=None, scale=1 / 127.5, mean=(1.0,), std=(1.0,)),
        Preprocessing(size=6, interpolation=None, channels="BGR", scale=1.0, mean=(103.9, 116.8, 123.7), std=(1.0,)),
    ],
)
@pytest.mark.parametrize("white", [255, 16])
def test_a_data_set_is_normalized_as_weights_need_it(how, white):
    """For BGR weights the first convolution is turned around: the network's outputs must not notice."""
    pixels = (noise(4, 6, 6, 3).clip(-1, 1) * 0.5 + 0.5) * white
    part = data.Part(pixels.round().astype("uint8"), np.zeros(4, "int32"))
    dataset = data.Dataset("some", ("a", "b"), part, part, part, (0.0,) * 3, (1.0,) * 3, (), 1, white=white)
    model = applications.ResNet(
        blocks=(1,), filters=(16,), input_shape=(6, 6, 3), classes=2, classifier_activation=None
    )
    stretched = part.images.astype("float32") * (255 / white)
    expected = model.predict(Preprocessor(how).normalize(stretched), verbose=0)
    networks._take_rgb(model, how)
    ((images, _),) = list(networks._normalized(dataset, how).batches("test"))
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-5)


def test_what_needs_weights_is_refused_without():
    for settings in ({"new_head": True}, {"preprocessing": "weights"}):
        with pytest.raises(ValueError, match="without weights"):
            training.resolve("digits", settings=settings)


@pytest.mark.slow
def test_a_folder_is_fine_tuned_evaluated_predicted_exported_and_resumed(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, gray in (("dark", 40), ("light", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = (gray + 30 * np.abs(noise(9, 8 + number % 3, seed=number)).clip(0, 2)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    options = ("--data", "folder:photos", "--model", "MLP", "--weights", published, "--epochs", 6, "--freeze", "none")
    process = keras_sd("train", *options, "--out", "run")
    assert process.exit_code == 0, process.output
    accuracy = json.loads((tmp_path / "run" / "results.json").read_text())["test_accuracy"]
    assert accuracy > 0.9
    assert f"test accuracy {accuracy:.4f}" in keras_sd("evaluate", "run").output
    rows = json.loads(keras_sd("predict", "run", "photos/light", "--json").output)
    assert np.mean([row["class"] == "light" for row in rows]) > 0.9
    assert keras_sd("export", "run", "exported").exit_code == 0
    found = json.loads(keras_sd("predict", "exported", "photos/light", "--json").output)
    assert [row["class"] for row in found] == [row["class"] for row in rows]
    *_, last = sorted((tmp_path / "run" / "checkpoints").glob("step-*.npz"))
    last.unlink()
    (tmp_path / "run" / "results.json").unlink()
    assert f"test accuracy {accuracy:.4f}" in keras_sd("train", "--resume", "--out", "run").output


def test_every_published_row_says_how_images_are_prepared():
    """So that `--weights TAG` has size and statistics."""
    assert all(row.preprocessing is not None for row in WEIGHTS.values())
