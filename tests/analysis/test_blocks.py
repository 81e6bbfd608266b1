"""Sub-networks against weights set to zero, blocks left out by hand, and swaps against swapped copies."""

import keras
import numpy as np
import pytest
from helpers import ENGINE

from keras_sd import applications, data
from keras_sd.analysis import SubNetworks, blocks, deletions, exchangeable, random_deletions, swapped
from keras_sd.layers import StochasticDepthStack

RESNET = {"blocks": (2, 3), "filters": (4, 8), "stem_filters": 4, "survival_probability": 0.5}


def close_branch(block):
    """Shuts a residual block by its weights: the last normalization gives zeros."""
    weights = block.get_weights()
    keys = [k for k in weights if k in ("norm2/gamma", "norm2/beta")] or [-4, -3]
    if keys[0] == -4:  # a list: gamma, beta, mean, variance come last
        keys = [len(weights) - 4, len(weights) - 3]
    block.set_weights({k: np.zeros_like(w) if k in keys else w for k, w in weights.items()})


@pytest.mark.parametrize("stacked", [True, False])
def test_blocks_are_named_in_order_with_their_survival_probabilities(make, stacked):
    found = blocks(make("ResNet", **RESNET, stacked=stacked))
    assert [b.name for b in found] == [
        "stage1_block1",
        "stage1_block2",
        "stage2_block1",
        "stage2_block2",
        "stage2_block3",
    ]
    assert [b.gate for b in found] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert [b.keeps_shape for b in found] == [True, True, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ResNet", RESNET),
        ("ResNet", RESNET | {"stacked": False, "scaling": "training"}),
        ("PlainNet", {"blocks": (2, 2), "filters": (4, 8), "stem_filters": 4}),
        ("DenseNet", {"blocks": (2, 2), "growth_rate": 4, "survival_probability": 0.5}),
    ],
)
def test_full_gates_are_the_model_itself(make, examples, name, arguments):
    model = make(name, **arguments)
    expected = model.predict(examples[0], verbose=0)
    np.testing.assert_allclose(SubNetworks(model).predict(examples[0]), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet", "PlainNet", "DenseNet"])
def test_a_run_in_half_precision_can_be_taken_apart(make, examples, tmp_path, name):
    """A saved model comes back with the policies of its layers, and Keras's own for the rest."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    filters = {} if name == "DenseNet" else {"filters": (4, 8), "stem_filters": 4}
    make(name, blocks=(2, 2), **filters).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    model = keras.saving.load_model(tmp_path / "model.keras")
    networks = SubNetworks(model)
    expected = model.predict(examples[0], verbose=0)
    np.testing.assert_allclose(networks.predict(examples[0]), expected, atol=0.02)
    assert not np.allclose(networks.predict(examples[0], [1, 0, 1, 1]), expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [True, False])
def test_a_deleted_block_is_one_whose_last_normalization_is_zero(make, examples, stacked):
    model = make("ResNet", **RESNET, stacked=stacked)
    networks = SubNetworks(model)
    deleted = [networks.predict(examples[0], gates) for _, gates in deletions(networks)]
    for block, found in zip(blocks(model), deleted):
        kept = block.get_weights()
        close_branch(block)
        np.testing.assert_allclose(found, model.predict(examples[0], verbose=0), atol=1e-5)
        block.set_weights(kept)
    assert not np.allclose(deleted[0], deleted[1])


@pytest.mark.slow
def test_a_deleted_dense_layer_is_one_with_a_kernel_of_zeros(make, examples):
    model = make("DenseNet", blocks=(2, 3), growth_rate=4)
    networks = SubNetworks(model)
    for index, block in enumerate(networks.blocks):
        gates = networks.full.copy()
        gates[index] = 0
        found = networks.predict(examples[0], gates)
        kept = block.get_weights()
        block.set_weights({k: w * (k != "conv2/kernel") for k, w in kept.items()})
        np.testing.assert_allclose(found, model.predict(examples[0], verbose=0), atol=1e-5)
        block.set_weights(kept)


def test_a_deleted_plain_block_passes_its_input_on(make, examples):
    model = make("PlainNet", blocks=(2, 2), filters=(16, 8))
    networks = SubNetworks(model)
    assert [b.removable for b in networks.blocks] == [True, True, False, True]
    found = networks.predict(examples[0], [1, 0, 1, 1])
    x = model.get_layer("stage1_block1").output  # the second block is left out by hand
    for layer in model.layers[model.layers.index(model.get_layer("stage2_block1")) :]:
        x = layer(x)
    expected = keras.Model(model.input, x).predict(examples[0], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="stage2_block1"):
        networks.gates = [1, 1, 0, 1]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch traces nothing")
def test_thousands_of_sub_networks_are_traced_once(make, examples):
    networks = SubNetworks(make("ResNet", **RESNET))
    traces = []
    stack = next(b.layer for b in networks.blocks if isinstance(b.layer, StochasticDepthStack))
    call = stack.call
    stack.call = lambda *args, **kwargs: traces.append(1) or call(*args, **kwargs)
    for gates in random_deletions(networks, 2, 8):
        networks.predict(examples[0], gates)
    assert len(traces) <= (2 if ENGINE == "jax" else 1)  # JAX again for what its first step returned


@pytest.mark.slow
@pytest.mark.parametrize(("stacked", "pair"), [(True, (3, 4)), (False, (0, 1))])
def test_swapped_blocks_compute_in_the_other_order(make, examples, stacked, pair):
    model = make("ResNet", blocks=(2, 3), filters=(4, 8), stem_filters=4, stacked=stacked)
    first, second = (blocks(model)[i] for i in pair)
    before = model.predict(examples[0], verbose=0)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    a, b = (blocks(copy)[i] for i in pair)
    weights = a.get_weights(), b.get_weights()
    a.set_weights(weights[1])
    b.set_weights(weights[0])
    with swapped(first, second):
        found = model.predict(examples[0], verbose=0)
    np.testing.assert_allclose(found, copy.predict(examples[0], verbose=0), atol=1e-6)
    assert not np.allclose(found, before)
    np.testing.assert_array_equal(model.predict(examples[0], verbose=0), before)


def test_only_blocks_of_equal_form_are_exchanged(make):
    model = make("ResNet", **RESNET)
    pairs = [(a.name, b.name) for a, b in exchangeable(blocks(model))]
    assert pairs == [("stage1_block1", "stage1_block2"), ("stage2_block2", "stage2_block3")]
    first, second = blocks(model)[1:3]
    with pytest.raises(ValueError, match="equal form"), swapped(first, second):
        pass
    assert exchangeable(blocks(make("DenseNet", blocks=(2, 2), growth_rate=4))) == []


def test_random_deletions_shut_as_many_blocks_as_asked_for(make):
    networks = SubNetworks(make("ResNet", **RESNET))
    gates = random_deletions(networks, 2, 20)
    assert ((gates == 0).sum(axis=1) == 2).all()
    assert (gates[:, 2] != 0).all()  # it changes the shape
    assert len({tuple(g) for g in gates}) > 1
    np.testing.assert_array_equal(gates, random_deletions(networks, 2, 20))
    with pytest.raises(ValueError, match="count"):
        random_deletions(networks, 5, 1)


def test_a_model_without_blocks_and_gates_of_another_number_are_refused(make):
    with pytest.raises(ValueError, match="blocks"):
        SubNetworks(make("MLP"))
    with pytest.raises(ValueError, match="`gates` must be 5 numbers, one for each block"):
        SubNetworks(make("ResNet", **RESNET)).gates = [1, 1]


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.cifar10
@pytest.mark.parametrize("index", [pytest.param(1, marks=pytest.mark.large), 7])
def test_lesions_of_the_published_resnet20(resnet20_file, cifar10_dir, index):
    """The error without a block is that with the block's last scale and offset at zero."""
    model = applications.ResNet20(weights=resnet20_file)
    dataset = data.load("cifar10", cifar10_dir)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((dataset.test.images[:500] / 255 - mean) / std).astype("float32")
    y = dataset.test.labels[:500]
    networks = SubNetworks(model)
    whole = networks.error(x, y)
    assert 0.15 < whole < 0.23  # 0.19 on all of these images
    gates = networks.full.copy()
    gates[index] = 0
    found = networks.error(x, y, gates)
    close_branch(networks.blocks[index])
    expected = np.mean(model.predict(x, verbose=0, batch_size=256).argmax(1) != y)
    assert found == pytest.approx(expected, abs=1e-9)
    assert found > whole
