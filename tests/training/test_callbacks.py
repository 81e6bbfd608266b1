"""Survival probabilities that fall, and what is seen of a run while it goes."""

import csv
import io

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_sd import applications, layers
from keras_sd.training.callbacks import (
    COLUMNS,
    HistoryFile,
    SurvivalWarmup,
    expected_depth,
    gated_blocks,
    last_learning_rate,
)
from keras_sd.training.checkpoint import capture, restore
from keras_sd.training.learning_rates import StepSchedule
from keras_sd.training.progress_bar import Bar
from keras_sd.training.resume import Progress

IMAGES, LABELS = np.ones((8, 3), "float32"), np.zeros((8, 3), "float32")


def block(probability):
    branch = keras.layers.Dense(3, kernel_initializer="ones")
    return layers.StochasticDepthResidual(branch, survival_probability=probability, activation=None)


def small(probability=1e-6):
    layer = block(probability)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(1e-3), "mse", metrics=[keras.metrics.MeanSquaredError(name="accuracy")])
    return model, layer


class Record(keras.callbacks.Callback):
    """What `read` returns at the end of each epoch."""

    def __init__(self, read):
        super().__init__()
        self.read, self.seen = read, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.read(logs))


def fit(model, *callbacks, epochs=4, **arguments):
    model.fit(IMAGES, LABELS, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks, **arguments)


def test_probabilities_fall_linearly_from_one():
    model = applications.ResNet(
        depth=14, input_shape=(4, 4, 1), filters=(4, 4, 8), stem_filters=4, survival_probability=0.5
    )
    final = [p for layer in gated_blocks(model) for p in layer.survival_probabilities]
    model.compile("sgd", "sparse_categorical_crossentropy")
    warmup = SurvivalWarmup(0.5)
    warmup.set_model(model)
    warmup.set_params({"epochs": 4})
    warmup.on_train_begin()
    shares = (0, 0.5, 1, 1)  # 1 from the third of four epochs on, at half of the training
    for epoch, share in enumerate(shares):
        warmup.on_epoch_begin(epoch)
        found = [p for layer in gated_blocks(model) for p in layer.survival_probabilities]
        np.testing.assert_allclose(found, [1 - share * (1 - p) for p in final])
        expected, blocks = expected_depth(model)
        assert expected == pytest.approx(sum(found))
        assert blocks == 6


def test_the_compiled_step_follows():
    """The branch trains in the first epoch, in which it always survives, and in the second never."""
    model, layer = small()
    record = Record(lambda logs: layer.branch.kernel.numpy().copy())
    fit(model, SurvivalWarmup(0.5), record, epochs=2)
    first, second = record.seen
    assert (first != 1).all()
    np.testing.assert_array_equal(second, first)
    assert layer.survival_probability == 1e-6


def test_so_does_the_test():
    model, layer = small()
    layer.branch.trainable = False
    record = Record(lambda logs: logs["val_loss"])
    fit(model, SurvivalWarmup(0.5), record, epochs=2, validation_data=(IMAGES, LABELS))
    np.testing.assert_allclose(
        record.seen, [16.0, 1.0], rtol=1e-3
    )  # (1 + 3)^2, and 1^2 where the branch weighs nothing


def test_a_run_that_goes_on_has_the_probabilities_of_its_epoch():
    model, layer = small(0.5)
    record = Record(lambda logs: layer.survival_probability)
    fit(model, SurvivalWarmup(1.0), record, initial_epoch=2, epochs=4)
    assert record.seen == [0.75, 0.625]
    assert layer.survival_probability == 0.5


@keras.saving.register_keras_serializable(package="tests")
class Traced(keras.layers.Dense):
    """Counts the calls of Python code: those of tracing, once the model is built."""

    calls = 0

    def call(self, inputs):
        type(self).calls += 1
        return super().call(inputs)


def stack(**arguments):
    branch = keras.Sequential([keras.Input((3,)), Traced(3)])
    return layers.StochasticDepthStack(branch, 2, (0.9, 0.5), activation=None, **arguments)


def residual(**arguments):
    return layers.StochasticDepthResidual(Traced(3), survival_probability=0.5, **arguments)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch compiles no steps")
@pytest.mark.parametrize("granularity", ["batch", "sample"])
@pytest.mark.parametrize("make", [stack, residual])
@pytest.mark.parametrize("scaling", ["inference", "training"])
def test_the_steps_of_a_warm_up_are_compiled_once(make, granularity, scaling):
    model = keras.Sequential([keras.Input((3,)), make(granularity=granularity, scaling=scaling)])
    model.compile("sgd", "mse")
    calls = Record(lambda logs: Traced.calls)
    fit(model, SurvivalWarmup(1.0), calls, epochs=3, validation_data=(IMAGES, LABELS))
    assert calls.seen[0] == calls.seen[1] == calls.seen[2]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch compiles no steps")
@pytest.mark.parametrize("kind", [{"gates": "systematic"}, {"granularity": "subset"}])
def test_steps_whose_shapes_depend_on_the_probabilities_follow_all_the_same(kind):
    model = keras.Sequential([keras.Input((3,)), stack(**kind)])
    model.compile("sgd", "mse")
    calls = Record(lambda logs: Traced.calls)
    fit(model, SurvivalWarmup(1.0), calls, epochs=3)
    assert calls.seen[0] < calls.seen[1] < calls.seen[2]


@pytest.mark.parametrize("granularity", ["batch", "sample"])
@pytest.mark.parametrize("scaling", ["inference", "training"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_probabilities_that_are_fed_do_what_constant_ones_do(granularity, scaling, dtype):
    common = {"granularity": granularity, "scaling": scaling, "seed": 1, "dtype": dtype}
    images = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("float32")
    for layer in (
        layers.StochasticDepthResidual(keras.layers.Conv2D(3, 1), survival_probability=0.7, **common),
        layers.StochasticDepthStack(keras.layers.Conv2D(3, 1), 3, (0.9, 0.7, 0.5), **common),
        layers.DenseBlock(3, 2, survival_probabilities=(0.9, 0.7, 0.5), **common),
    ):
        layer.build(images.shape)
        twin = type(layer).from_config(layer.get_config())
        twin.build(images.shape)
        twin.set_weights(layer.get_weights())
        twin.feed_probabilities()
        assert len(twin.variables) == len(layer.variables) + 1
        for training in (True, True, False):
            expected, found = (keras.ops.convert_to_numpy(one(images, training=training)) for one in (layer, twin))
            np.testing.assert_array_equal(found, expected, str((layer, training)))


def test_probabilities_that_are_fed_are_in_no_file(tmp_path):
    """Weights, parameters, configuration and checkpoints are those that the model had before its warm-up."""
    model = keras.Sequential([keras.Input((3,)), stack(seed=1), residual(seed=2)])
    model.compile("sgd", "mse")
    before = len(model.variables), len(model.weights), model.count_params(), model.get_config()
    state = capture(model, ["model"])
    fit(model, SurvivalWarmup(1.0), epochs=2)
    assert len(model.variables) == before[0] + 2  # one for each layer, and no weight
    assert (len(model.weights), model.count_params(), model.get_config()) == before[1:]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), rtol=1e-5)
    assert len(loaded.variables) == before[0]
    restore(model, state, ["model"])
    np.testing.assert_array_equal(capture(model, ["model"])["model"][0], state["model"][0])


def test_a_network_of_constant_depth_is_compiled_once():
    model, _ = small(1.0)
    functions = Record(lambda logs: model.train_function)
    fit(model, SurvivalWarmup(1.0), functions, epochs=3)
    assert len(set(functions.seen)) == 1


def test_history_has_seconds_and_rate(tmp_path):
    model, _ = small()
    history = HistoryFile(tmp_path / "history.csv", batch_size=4)
    fit(model, history, epochs=2, validation_data=(IMAGES, LABELS))
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    for row in rows:  # eight images in less than the epoch's seconds, which have the validation in them
        assert float(row["images_per_second"]) >= 8 / float(row["seconds"]) * 0.99


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_the_learning_rate_is_read_from_several_devices():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():
        optimizer = keras.optimizers.SGD(StepSchedule(0.1, 10))
        assert last_learning_rate(optimizer) == 0.1


def test_the_bar_shows_rate_time_and_depth():
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=150, highlight=False)
    model, _ = small(0.5)
    bar = Bar(console, batch_size=4)
    fit(model, SurvivalWarmup(1.0), bar, epochs=2, validation_data=(IMAGES, LABELS))
    bar.close()
    shown = output.getvalue()
    for part in ("images/s", "depth 1.0 of 1", "depth 0.8 of 1", "left", "epoch 2/2", "step 2/2", "(val "):
        assert part in shown, part


def test_the_bar_of_an_epoch_that_was_begun_elsewhere_counts_on():
    model, _ = small()
    bar = Bar(Console(file=io.StringIO(), force_terminal=True), batch_size=4)
    progress = Progress(None, None, steps_per_epoch=2)
    progress.step = 3  # of the second epoch one step is left
    shown = Record(lambda logs: (bar.progress.tasks[0].completed, bar.progress.tasks[0].fields["step"]))
    fit(model, progress, bar, shown, initial_epoch=1, epochs=3, validation_data=(IMAGES, LABELS))
    bar.close()
    assert shown.seen == [(4, "2/2"), (6, "2/2")]


def test_what_cannot_be_dropped_has_no_depth():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert expected_depth(model) == (0, 0)
