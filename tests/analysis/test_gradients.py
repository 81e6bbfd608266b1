"""Gradients and signals by depth against Keras's own, paths against the whole gradient."""

import itertools

import keras
import numpy as np
import pytest

from keras_sd.analysis import (
    GradientHistory,
    GradientProbe,
    PathGradients,
    blocks,
    draw_gates,
    path_lengths,
    root_mean_square,
    signals,
    similarity,
    survivors,
)

RESNET = {"blocks": (2, 2), "filters": (4, 8), "stem_filters": 4}


def stepped(model, x, y):
    """Gradients of all weights, as the step of an SGD of rate 1 leaves them."""
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    before = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    model.train_on_batch(x, y)
    return {w.path: b - keras.ops.convert_to_numpy(w) for w, b in zip(model.trainable_weights, before)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "kernels"),
    [
        ("ResNet", RESNET | {"stacked": False}, "stage2_block1/branch/conv"),
        ("PlainNet", RESNET, "stage2_block1/branch/conv"),
        ("DenseNet", {"blocks": (1, 2), "growth_rate": 4}, "stage2_block/layer1_conv"),
    ],
)
def test_gradients_are_those_of_a_training_step(make, examples, name, arguments, kernels):
    model = make(name, **arguments)
    before = model.get_weights()
    probe = GradientProbe(model, *examples)
    found = dict(zip([b.name for b in probe.blocks], probe.read()))
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    steps = stepped(model, *examples)
    chosen = [g.ravel() for path, g in steps.items() if kernels in path and path.endswith("kernel")]
    assert len(chosen) == 2
    block = "stage2_block_layer1" if name == "DenseNet" else "stage2_block1"
    assert found[block] == pytest.approx(np.abs(np.concatenate(chosen)).mean(), rel=1e-3)


@pytest.mark.slow
def test_a_stack_has_the_gradients_of_its_blocks(make, examples):
    stacked, single = make("ResNet", **RESNET), make("ResNet", **RESNET, stacked=False)
    for a, b in zip(blocks(stacked), blocks(single)):
        values = list(b.get_weights().values())
        a.set_weights(dict(zip(a.get_weights(), values)))
    for name in ("stem_conv", "stem_norm", "predictions"):
        stacked.get_layer(name).set_weights(single.get_layer(name).get_weights())
    a, b = (GradientProbe(model, *examples).read() for model in (stacked, single))
    np.testing.assert_allclose(a, b, rtol=1e-3)


@pytest.mark.slow
def test_a_block_that_no_draw_keeps_has_no_gradient(make, examples):
    model = make("ResNet", **RESNET, survival_schedule=(1.0, 1.0, 0.5, 1e-9))
    found = GradientProbe(model, *examples).read()
    assert (found[:3] > 0).all()
    assert found[3] == 0
    # Half of the third block's draws count as zero; in the others it has what it has when it never drops.
    certain = make("ResNet", **RESNET, survival_schedule=(1.0, 1.0, 1.0, 1e-9))
    certain.set_weights(model.get_weights())
    share = draw_gates([1, 1, 0.5, 1e-9], 8)[:, 2].mean()
    assert found[2] == pytest.approx(share * GradientProbe(certain, *examples).read()[2], rel=1e-3)


@pytest.mark.slow
def test_the_history_reads_before_training_and_after_each_epoch(make, examples):
    model = make("ResNet", **RESNET)
    model.compile("sgd", "sparse_categorical_crossentropy")
    read = {}
    history = GradientHistory(*examples, lambda epoch, values: read.update({epoch: dict(values)}))
    before = GradientProbe(model, *examples).read()
    model.fit(*examples, epochs=2, verbose=0, callbacks=[history])
    assert list(read) == [0, 1, 2]
    assert list(read[0].values()) == pytest.approx(before.tolist(), rel=1e-4)
    assert read[1] != read[2] != read[0]


@pytest.mark.parametrize("name", ["ResNet", "PlainNet", "DenseNet"])
def test_signals_are_the_outputs_of_the_blocks(make, examples, name):
    arguments = {"blocks": (1, 2), "growth_rate": 4} if name == "DenseNet" else RESNET
    model = make(name, **arguments)
    before = model.get_weights()
    found = {block.name: features for block, features in signals(model, examples[0])}
    layer = {"ResNet": "stage2_blocks", "PlainNet": "stage2_block2", "DenseNet": "stage2_block"}[name]
    with keras.StatelessScope():
        output = keras.Model(model.input, model.get_layer(layer).output)(examples[0], training=True)
    last = found["stage2_block_layer2" if name == "DenseNet" else "stage2_block2"]
    np.testing.assert_allclose(last, output, atol=1e-4)
    if name == "DenseNet":
        np.testing.assert_array_equal(found["stage2_block_layer1"], last[..., :-4])
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_size_and_similarity_of_signals():
    assert root_mean_square(np.array([3.0, -4.0])) == pytest.approx(12.5**0.5)
    assert similarity(np.array([[1.0, 0], [0, 1]])) == pytest.approx(0)
    assert similarity(np.array([[1.0, 2], [2, 4], [3, 6]])) == pytest.approx(1)
    assert similarity(np.array([[1.0, 0], [1, 1], [0, 1]])) == pytest.approx((0.5**0.5 + 0 + 0.5**0.5) / 3)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [True, False])
def test_gradients_along_all_paths_add_up_to_the_gradient(make, examples, stacked):
    model = make("ResNet", blocks=(2, 1), filters=(4, 8), stem_filters=4, survival_probability=0.7, stacked=stacked)
    gradient = PathGradients(model)
    paths = list(itertools.product((0, 1), repeat=3))
    found = sum(gradient(*examples, path) for path in paths)
    # The whole gradient by differences, in the direction of the sum: of the ordinary model's loss.
    x, y = examples
    step = 1e-3 * found / np.abs(found).max()
    values = [
        np.mean(-np.log(model.predict(x + sign * step, verbose=0)[np.arange(len(y)), y].astype("float64")))
        for sign in (1, -1)
    ]
    assert (values[0] - values[1]) / 2 == pytest.approx(float((found * step).sum()), rel=2e-2)
    assert np.linalg.norm(gradient(x, y, (0, 0, 0))) > 0  # shortcuts alone reach the input
    assert np.linalg.norm(found - gradient(x, y, (1, 1, 1))) > 1e-3 * np.linalg.norm(found)
    norms = gradient.by_length(x, y, [0, 3], 2)
    assert norms[1] == pytest.approx([np.linalg.norm(gradient(x, y, (1, 1, 1)))] * 2)
    assert norms[0] == pytest.approx([np.linalg.norm(gradient(x, y, (0, 0, 0)))] * 2)


def test_path_lengths_are_binomial():
    lengths = path_lengths(54)
    assert lengths.sum() == pytest.approx(1)
    assert np.arange(55) @ lengths == pytest.approx(27)
    assert lengths[19:36].sum() > 0.95  # Veit et al. 2016, section 4.1: most paths have 19 to 35 blocks
    np.testing.assert_allclose(survivors([0.5] * 6), path_lengths(6))
    np.testing.assert_allclose(survivors([0.9, 0.2]), [0.08, 0.74, 0.18])


def test_paths_need_residual_blocks(make):
    with pytest.raises(ValueError, match="residual"):
        PathGradients(make("DenseNet", blocks=(1, 1), growth_rate=4))
