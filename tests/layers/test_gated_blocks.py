"""The vocabulary of layers that hold blocks: a layer that speaks it is taken apart, counted, folded and saved."""

import keras
import numpy as np
import pytest

from keras_sd import analysis, fold, weights
from keras_sd.layers import DenseBlock, PlainBlock, StochasticDepthResidual, StochasticDepthStack
from keras_sd.layers.blocks import GatedBlocks

LAYERS = {
    "residual": lambda **a: StochasticDepthResidual(branch(), survival_probability=0.8, **a),
    "stack": lambda **a: StochasticDepthStack(branch(), 3, (0.9, 0.8, 0.5), **a),
    "dense": lambda **a: DenseBlock(2, 4, survival_probabilities=(0.8, 0.5), **a),
}


def branch():
    conv = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")
    return keras.Sequential([conv, keras.layers.BatchNormalization(name="norm")], name="branch")


@pytest.mark.parametrize("scaling", ["inference", "training"])
@pytest.mark.parametrize("name", LAYERS)
def test_gates_are_the_weights_of_the_branches(name, scaling):
    """`call(gates=)` with them is inference, and a step of training that all blocks survive."""
    layer = LAYERS[name](scaling=scaling)
    x = np.random.default_rng(0).normal(size=(4, 5, 5, 4)).astype("float32")
    np.testing.assert_allclose(layer(x), layer(x, gates=layer.inference_gates()), atol=1e-5)
    p = np.array(layer.survival_probabilities)
    expected = (p, np.ones_like(p)) if scaling == "inference" else (np.ones_like(p), 1 / p)
    np.testing.assert_allclose((layer.inference_gates(), layer.survivor_gates()), expected)
    assert len(p) == layer.num_blocks == len(layer.block_names(0))


@pytest.mark.parametrize("name", LAYERS)
def test_blocks_have_their_own_weights_by_name(name):
    layer = LAYERS[name]()
    layer.build((None, 5, 5, 4))
    found = [layer.block_weights(i) for i in range(layer.num_blocks)]
    sizes = sum(np.prod(weight.shape) for weights in found for weight in weights.values())
    assert sizes == sum(np.prod(w.shape) for w in layer.weights)
    weight = next(iter(found[-1].values()))
    weight.assign(np.full(weight.shape, 3.0))
    assert (weight.value() == 3).all()
    assert sum((np.array(w) == 3).sum() for w in layer.weights) == np.prod(weight.shape)


def test_probabilities_are_set_and_checked_as_the_argument():
    for make in LAYERS.values():
        layer = make()
        layer.survival_probabilities = (0.25,) * layer.num_blocks
        assert set(layer.survival_probabilities) == {0.25}
        with pytest.raises(ValueError, match="survival_probabilit"):
            layer.survival_probabilities = (1.5,) * layer.num_blocks
    assert DenseBlock(3, 4).survival_probabilities == (1.0, 1.0, 1.0)


def test_a_plain_block_passes_its_input_on_where_its_gate_is_shut():
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("float32")
    block = PlainBlock(branch())
    np.testing.assert_allclose(block(x), np.maximum(block.branch(x), 0))
    np.testing.assert_array_equal(block(x, gates=0), x)
    np.testing.assert_array_equal(block(x, gates=(1.0,)), block(x))
    narrow = PlainBlock(keras.layers.Conv2D(2, 3))
    np.testing.assert_array_equal(narrow(x, gates=0), narrow(x))
    assert narrow.compute_output_shape((None, 5, 5, 4)) == (None, 3, 3, 2)


def test_a_plain_block_keeps_the_contract_of_layers(check_layer):
    check_layer(lambda **a: PlainBlock(keras.layers.Conv2D(4, 3, padding="same"), **a), (5, 5, 4))


@keras.saving.register_keras_serializable(package="tests")
class Doubled(GatedBlocks, keras.layers.Layer):
    """A layer with blocks that the package does not know: `x + gate * 2 * branch(x)`."""

    def __init__(self, branch, **kwargs):
        super().__init__(**kwargs)
        self.branch, self.shortcut = branch, None

    def build(self, input_shape):
        self.branch.build(input_shape)

    def call(self, inputs, training=False, gates=None):
        gate = 1.0 if gates is None else keras.ops.reshape(gates, ())
        return inputs + gate * 2 * self.branch(inputs)

    def get_config(self):
        return {**super().get_config(), "branch": keras.saving.serialize_keras_object(self.branch)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "branch": keras.saving.deserialize_keras_object(config["branch"])})


def test_a_layer_of_ones_own_is_a_layer_with_blocks(tmp_path):
    """One class, and nothing else: analysis, cost, weights and folding know it."""
    inputs = keras.Input((5, 5, 4))
    x = Doubled(branch(), name="stage1_block1")(inputs)
    x = StochasticDepthStack(branch(), 2, name="stage1_blocks")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).normal(size=(4, 5, 5, 4)).astype("float32")
    networks = analysis.SubNetworks(model)
    assert [block.name for block in networks.blocks] == ["stage1_block1", "stage1_block2", "stage1_block3"]
    np.testing.assert_allclose(networks.predict(images), model.predict(images, verbose=0), atol=1e-6)
    shut = networks.predict(images, [0, 0.5, 0.5])
    model.get_layer("stage1_block1").branch.layers[-1].gamma.assign(np.zeros(4))  # beta is zeros already
    np.testing.assert_allclose(model.predict(images, verbose=0), shut, atol=1e-6)
    assert analysis.flops(model) == 2 * (3 * 25 * 9 * 16 + 4 * 3)
    assert "stage1/block1/conv/kernel" in weights.canonical(model)
    np.testing.assert_allclose(fold(model).predict(images, verbose=0), shut, atol=1e-5)
    weights.save(model, tmp_path / "own.safetensors")
    assert [len(features) for _, features in analysis.signals(model, images)] == [4, 4, 4]
