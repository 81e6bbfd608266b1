"""Dense connectivity: dense blocks, whose layers read the features of all earlier layers, and transitions."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sd import backend
from keras_sd.layers import gates as gating
from keras_sd.layers.blocks import BlockWeight, GatedBlocks, check_survival
from keras_sd.layers.pre_activation import PreActivation, conv, wide_dtype
from keras_sd.layers.residual import gate_examples, scale
from keras_sd.schedules import check_depth
from keras_sd.utils.aliases import Shape, Tensor
from keras_sd.utils.checks import check_choice, check_integer, check_number, refusal

# The trained weights of a normalization and the convolution after it, in order.
_TRAINED = (("norm", "gamma"), ("norm", "beta"), ("conv", "kernel"))


@keras.saving.register_keras_serializable(package="keras_sd")
class DenseBlock(PreActivation, GatedBlocks):
    """Dense block: each layer reads the concatenation of the block's input and of all layers before it.

        y_l = conv3x3(relu(norm2(conv1x1(relu(norm1([x, y_1, ..., y_(l-1)]))))));   output [x, y_1, ..., y_L]

    With stochastic depth a layer that is dropped is not computed and contributes zeros:

        training   y_l = b_l * f_l(...),   b_l ~ Bernoulli(p_l);     inference   y_l = p_l * f_l(...)

    With `scaling="training"` survivors are divided by `p_l` in training instead, and inference does not scale.
    A dropped layer's own weights and statistics do not change. The normalizations that read its zeros include
    them in the moving mean, but do not update the moving variance of those features. The input of each ReLU
    in inference is then the expectation, over the gates, of its input in training.

    Args:
        num_layers: Number of layers, `L`.
        growth_rate: Features that each layer adds, `k`.
        bottleneck_width: The 1x1 convolution has `bottleneck_width * growth_rate` features. `None` or 0:
            no 1x1 convolution, a layer is norm1-ReLU-conv3x3 (the basic DenseNet).
        dropout_rate: Rate of the dropout after each 3x3 convolution (the paper's, for training without augmentation).
        memory_efficient: Whether training recomputes concatenations and normalizations in the backward pass
            instead of keeping them, and computes the statistics of each feature once for all layers. Same outputs
            and gradients, less memory and time. `"auto"`: where the backend and the other arguments allow it.
        survival_probabilities: One number for all layers, or one for each, in (0, 1]. `None`: all survive.
        granularity: `"batch"`: one gate per layer. `"sample"`: one gate per layer and example; all layers are computed.
        scaling: `"inference"` or `"training"`: where the survival probability is applied, see above.
        dilation_rate: Dilation rate of the 3x3 convolutions.
        epsilon: Added to variances.
        momentum: Momentum of the moving statistics.
        kernel_initializer: Initializer of the convolutions; each kernel gets separate draws.
        data_format: `"channels_last"` or `"channels_first"`; by default that of `keras.config`.
        seed: Integer, seed of gates and dropout; it is mixed with the layer's name.

    Call arguments:
        inputs: Tensor of shape (batch, height, width, channels), or (batch, channels, height, width).
        training: Whether to draw gates and to use statistics of the batch (a frozen layer never uses them).
        gates: `num_layers` numbers used instead of `b_l` or `p_l`; a layer whose gate is 0 is not computed.

    Raises:
        ValueError: An argument is invalid.

    Examples:
        >>> block = keras_sd.layers.DenseBlock(num_layers=3, growth_rate=12)
        >>> tuple(block(keras.random.normal((2, 8, 8, 16))).shape)  # 16 + 3 * 12 features
        (2, 8, 8, 52)

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993);
        [Pleiss et al., 2017](https://arxiv.org/abs/1707.06990) for the memory-efficient training.
    """

    kind = "dense"
    variables = GatedBlocks.variables  # otherwise that of Keras would come first in the method resolution order

    def __init__(
        self,
        num_layers: int,
        growth_rate: int,
        bottleneck_width: float | None = 4,
        dropout_rate: float = 0.0,
        memory_efficient: bool | str = "auto",
        survival_probabilities: Any = None,
        granularity: str = "batch",
        scaling: str = "inference",
        dilation_rate: int = 1,
        epsilon: float = 1.001e-5,
        momentum: float = 0.99,
        kernel_initializer: Any = "he_normal",
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(epsilon, momentum, kernel_initializer, data_format, **kwargs)
        self.num_layers = check_depth("num_layers", num_layers)
        self.shortcut = None
        self.growth_rate = check_integer("growth_rate", growth_rate)
        self.bottleneck_width = _check_bottleneck(bottleneck_width, growth_rate)
        self.dropout_rate = check_number("dropout_rate", dropout_rate, "a number in [0, 1)", lambda v: 0 <= v < 1)
        self.memory_efficient = check_choice("memory_efficient", memory_efficient, ("auto", True, False))
        self.survival_probabilities = 1.0 if survival_probabilities is None else survival_probabilities
        self.granularity = check_choice("granularity", granularity, ("batch", "sample"))
        self.scaling = check_choice("scaling", scaling, gating.SCALINGS)
        self.dilation_rate = check_integer("dilation_rate", dilation_rate)
        self.seed = seed
        self.seed_generator = gating.seed_generator(seed, self.name)

    def build(self, input_shape: Shape) -> None:
        channels, k = self._channels(input_shape), self.growth_rate
        width = round((self.bottleneck_width or 0) * k)
        self._input_channels, self._layers_weights = channels, []
        for i in range(self.num_layers):
            name, wide = f"layer{i + 1}", channels + i * k
            weights = self._add_normalization(f"{name}_norm1", wide)
            weights |= self._add_kernel(f"{name}_conv1", (1, 1, wide, width) if width else (3, 3, wide, k))
            if width:
                weights |= self._add_normalization(f"{name}_norm2", width)
                weights |= self._add_kernel(f"{name}_conv2", (3, 3, width, k))
            self._layers_weights.append(weights)
        self._freeze_normalization()

    @property
    def num_blocks(self) -> int:
        return self.num_layers

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        """One for each layer, a tuple; assign what the argument accepts.

        Compile the model again after a change, unless they are fed (`feed_probabilities`).
        """
        return self._survival_probabilities

    @survival_probabilities.setter
    def survival_probabilities(self, value: Any) -> None:
        self._survival_probabilities = check_survival(value, self.num_layers)
        self._probabilities_changed()

    def block_names(self, before: int) -> list[str]:
        return [f"{self.name}_layer{i + 1}" for i in range(self.num_layers)]

    def block_weights(self, index: int) -> dict[str, BlockWeight]:
        """Return the weights of a layer (counted from 0), a dictionary of names (`"norm1/gamma"`) to `BlockWeight`s."""
        return {
            part: BlockWeight(variable) for part, variable in self._layers_weights[self._check_index(index)].items()
        }

    def block_outputs(self, call: Callable, inputs: Tensor, gates: Any) -> Iterator[Tensor]:
        features = call(inputs, gates=gates)
        channels = self._input_channels
        for _ in range(self.num_layers):
            channels += self.growth_rate
            taken = slice(channels)
            yield features[..., taken] if self.data_format == "channels_last" else features[:, taken]

    def products(self, input_shape: Shape, count: Callable) -> tuple[list[int], int]:
        shape: Any = input_shape
        positions = math.prod(shape[1:3] if self.data_format == "channels_last" else shape[2:4])
        kernels = ([w.shape for n, w in weights.items() if n.endswith("kernel")] for weights in self._layers_weights)
        return [positions * sum(map(math.prod, shapes)) for shapes in kernels], 0

    def kernel_by_source(self, index: int) -> list[np.ndarray]:
        """Return the kernel of a layer's first convolution, split by the source of its input features.

        Returns:
            List of `index + 1` arrays of shape (kernel height, kernel width, features of the source, filters):
            for the block's input first, then for each earlier layer.
        """
        kernel = ops.convert_to_numpy(self._layers_weights[self._check_index(index)]["conv1/kernel"])
        starts = range(self._input_channels, kernel.shape[2], self.growth_rate)
        return np.split(kernel, list(starts), axis=2)

    def _check_index(self, index):
        return check_integer("index", index, 0, self.num_layers - 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        axis = 3 if self.data_format == "channels_last" else 1
        shape = list(input_shape)
        shape[axis] = self._channels(input_shape) + self.num_layers * self.growth_rate
        return tuple(shape)

    def call(self, inputs: Tensor, training: bool = False, gates: Any = None) -> Tensor:
        features = self._to_channels_last(inputs)
        if self._trains_at_once(training, gates):
            return self._from_channels_last(self._all_layers_at_once(features))
        gates, weights = self._gates(features, training, gates)
        skips = gates is not None and len(gates.shape) == 1
        moves = ops.ones((self._input_channels,), "bool") if skips else None
        for i in range(self.num_layers):
            if skips:
                y = self._skippable_layer(features, i, training, gates[i], weights[i], moves)
                moves = ops.concatenate([moves, ops.repeat(gates[i][None], self.growth_rate)])
            else:
                y = self._layer(features, i, training)
                y = scale(y, weights[i]) if gates is None else gate_examples(y, gates[i], weights[i])
            features = ops.concatenate([features, y], axis=-1)
        return self._from_channels_last(features)

    def _trains_at_once(self, training, gates):
        """Return whether the memory-efficient step applies: training with all layers open."""
        return (
            self.memory_efficient is not False
            and backend.dense_block is not None
            and gates is None
            and not self.dropout_rate
            and self.dilation_rate == 1
            and self._drops_none()
            and self._uses_batch_statistics(training)
        )

    def _all_layers_at_once(self, x):
        wide = wide_dtype(x)
        names = [f"{name}{j}/{part}" for j in self._stages() for name, part in _TRAINED]
        layers = [tuple(ops.cast(weights[name], wide) for name in names) for weights in self._layers_weights]
        y, statistics, narrow = backend.dense_block(x, layers, self.growth_rate, self.epsilon)
        # All normalizations that read a feature share its statistics.
        index = [i for j in range(self.num_layers) for i in range(self._input_channels + j * self.growth_rate)]
        self._move_all("norm1", ops.take(statistics, index, axis=1))
        if narrow is not None:
            self._move_all("norm2", ops.reshape(ops.transpose(narrow, (1, 0, 2)), (2, -1)))
        return y

    def _move_all(self, name, batch):
        """Do what `_move` does for one normalization of all layers, in a few operations."""
        for part, values in zip(("moving_mean", "moving_variance"), ops.unstack(batch)):
            variables = [weights[f"{name}/{part}"] for weights in self._layers_weights]
            ends = np.cumsum([v.shape[0] for v in variables[:-1]], dtype=int).tolist()
            old = ops.concatenate(variables)
            new = old + (ops.cast(values, old.dtype) - old) * (1.0 - self.momentum)
            for variable, value in zip(variables, ops.split(new, ends) if ends else [new]):
                variable.assign(value)

    def _stages(self):
        return (1, 2) if self.bottleneck_width else (1,)

    def _gates(self, x, training, gates):
        """Return open gates (`None`: all; one per layer; or one per layer and example), and the layers' factors."""
        if gates is not None:
            gates = ops.convert_to_tensor(gates, "float32")
            if tuple(gates.shape) != (self.num_layers,):
                raise refusal("gates", f"{self.num_layers} numbers, one for each layer", gates)
            return gates != 0, gates
        weights = self._branch_weights(training)
        if not training or self._drops_none():
            return None, weights
        shape = (self.num_layers,) if self.granularity == "batch" else (self.num_layers, ops.shape(x)[0])
        p = ops.reshape(self._probabilities(), (-1,) + (1,) * (len(shape) - 1))
        return gating.draw_independent(p, shape, self.seed_generator), weights

    def _skippable_layer(self, x, i, training, gate, weight, moves):
        return backend.cond(
            gate,
            lambda: scale(self._layer(x, i, training, moves), weight),
            lambda: ops.zeros((*ops.shape(x)[:-1], self.growth_rate), x.dtype),
            [*self._layers_weights[i].values(), self.seed_generator.state],
        )

    def _layer(self, x, i, training, moves=None):
        weights = self._layers_weights[i]
        x = self._normalize(x, weights, "norm1", training, moves)
        if self.bottleneck_width:
            x = self._normalize(conv(x, weights["conv1/kernel"]), weights, "norm2", training)
        kernel = weights["conv2/kernel" if self.bottleneck_width else "conv1/kernel"]
        y = conv(x, kernel, self.dilation_rate)
        if training and self.dropout_rate:
            # With an explicit shape: without one, Keras on PyTorch draws from the global generator, not from the seed.
            y = keras.random.dropout(y, self.dropout_rate, ops.shape(y), seed=self.seed_generator)
        return y

    def get_config(self) -> dict[str, Any]:
        names = (
            "num_layers",
            "growth_rate",
            "bottleneck_width",
            "dropout_rate",
            "memory_efficient",
            "granularity",
        )
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in (*names, "scaling", "dilation_rate", "seed")},
            "survival_probabilities": list(self.survival_probabilities),
        }


@keras.saving.register_keras_serializable(package="keras_sd")
class TransitionLayer(PreActivation):
    """Transition between dense blocks: batch normalization, ReLU, 1x1 convolution to fewer features, average pooling.

    It pools before the convolution: both are linear and the convolution has no bias, so the result is the same
    at a fraction of the cost.

    Args:
        compression: Fraction of the features that is kept, in (0, 1]: `floor(compression * channels)`.
        pool_size: Size and stride of the pooling. 1: no pooling (for a smaller output stride, with dilation).
        epsilon, momentum, kernel_initializer, data_format: As in `DenseBlock`.

    Call arguments:
        inputs: Tensor of shape (batch, height, width, channels), or (batch, channels, height, width).
        training: Whether to use statistics of the batch (a frozen layer never uses them).

    Raises:
        ValueError: An argument is invalid, or an input is smaller than `pool_size`.

    Examples:
        >>> transition = keras_sd.layers.TransitionLayer(compression=0.5)
        >>> tuple(transition(keras.random.normal((2, 8, 8, 52))).shape)
        (2, 4, 4, 26)

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3
    """

    def __init__(
        self,
        compression: float = 0.5,
        pool_size: int = 2,
        epsilon: float = 1.001e-5,
        momentum: float = 0.99,
        kernel_initializer: Any = "he_normal",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(epsilon, momentum, kernel_initializer, data_format, **kwargs)
        self.compression = check_number("compression", compression, "a number in (0, 1]", lambda v: 0 < v <= 1)
        self.pool_size = check_integer("pool_size", pool_size)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        self.compute_output_shape(input_shape)  # raises for inputs that are too small
        self._weights = self._add_normalization("norm", channels)
        self._weights |= self._add_kernel("conv", (1, 1, channels, self._filters(channels)))
        self._freeze_normalization()

    @property
    def weights_by_name(self) -> dict[str, keras.Variable]:
        """Variables by name: `"norm/gamma"`, ..., `"conv/kernel"`."""
        return dict(self._weights)

    @property
    def kernel(self) -> keras.Variable:
        """Kernel of the convolution, of shape (1, 1, channels, filters)."""
        return self._weights["conv/kernel"]

    def _filters(self, channels):
        # The small number corrects products such as 0.29 * 100, which rounding leaves just below a whole number.
        return max(1, math.floor(self.compression * channels + 1e-6))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape: list[Any] = list(input_shape)
        channel_axis = 3 if self.data_format == "channels_last" else 1
        shape[channel_axis] = self._filters(self._channels(input_shape))
        for axis in {1, 2, 3} - {channel_axis}:
            if shape[axis] is not None:
                shape[axis] //= self.pool_size
                if shape[axis] == 0:
                    allowed = f"at least {self.pool_size} pixels (`pool_size`) high and wide for {self.name!r}"
                    raise refusal("input_shape", allowed, tuple(input_shape))
        return tuple(shape)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = self._normalize(self._to_channels_last(inputs), self._weights, "norm", training)
        if self.pool_size > 1:
            x = backend.average_pool(x, self.pool_size, self.pool_size, "valid", data_format="channels_last")
        return self._from_channels_last(conv(x, self._weights["conv/kernel"]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "compression": self.compression, "pool_size": self.pool_size}


def _check_bottleneck(value, growth_rate):
    """Return the width as given; raise a `ValueError` unless it gives a whole number of features."""
    if value is None:
        return None
    check_number("bottleneck_width", value, "None, 0 or a positive number", lambda v: v >= 0)
    if abs(value * growth_rate - round(value * growth_rate)) > 1e-6:
        allowed = f"a number whose product with growth_rate={growth_rate!r} is whole"
        raise refusal("bottleneck_width", allowed, value)
    return value
