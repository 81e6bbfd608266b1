"""Specifications of networks: frozen, checked on creation, and turned into Keras models by the builder."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from keras_sd.models.block_kinds import BLOCK_KINDS, BlockKind
from keras_sd.schedules import check_probability, expected_depth, resolve
from keras_sd.utils.checks import check_choice, check_flag, check_integer, check_number, check_type, refusal
from keras_sd.utils.names import hint

STEMS = ("cifar", "imagenet")
MOST_BLOCKS = 10_000  # more would exhaust the memory of any machine before an error could be raised
MOST_UNITS = 1_000_000
SHORTCUTS = ("average", "slice", "projection", "none")


def _check(condition: bool, name: str, value, allowed: str) -> None:
    if not condition:
        raise refusal(name, allowed, value)


def _positive(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 < int(value) <= MOST_UNITS


def _check_rate(name: str, value) -> None:
    check_number(name, value, "a number in [0, 1)", lambda rate: 0 <= rate < 1)


def _integers(name: str, value) -> tuple[int, ...]:
    ok = isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(_positive, value))
    _check(ok, name, value, f"a sequence of positive integers of at most {MOST_UNITS:,}")
    _check(len(value) <= MOST_BLOCKS, name, value, f"a sequence of at most {MOST_BLOCKS:,} integers")
    return tuple(int(v) for v in value)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Specification of a network. `min_size` is the least height and width of its inputs."""

    # Attributes or properties of all subclasses.
    min_size: ClassVar[Any]
    num_blocks: ClassVar[Any]
    depth: ClassVar[Any]
    survival_probabilities: ClassVar[Any]


@dataclass(frozen=True, kw_only=True)
class MLPSpec(Spec):
    """A multi-layer perceptron; without hidden layers, a perceptron.

    Attributes:
        widths: Units of each hidden layer.
        dropout_rate: Dropout after each hidden layer.
    """

    widths: tuple[int, ...] = (512, 512)
    dropout_rate: float = 0.0
    min_size = 1
    survival_probabilities = ()  # there are no blocks to drop

    def __post_init__(self):
        if self.widths != ():
            object.__setattr__(self, "widths", _integers("widths", self.widths))
        _check_rate("dropout_rate", self.dropout_rate)

    @property
    def num_blocks(self) -> int:
        """Number of hidden layers."""
        return len(self.widths)

    @property
    def depth(self) -> int:
        """Number of layers with weights, the classifier included."""
        return len(self.widths) + 1


@dataclass(frozen=True, kw_only=True)
class ConvolutionalSpec(Spec):
    """Common part of all convolutional networks: a stem, stages of blocks, and survival of blocks.

    Attributes:
        blocks: Number of blocks (in a DenseNet, of layers) of each stage.
        stem: `"cifar"` (a 3x3 convolution) or `"imagenet"` (7x7, stride 2, and max pooling).
        survival_probability: Survival probability of the last block, in (0, 1]; 1 is constant depth.
        survival_schedule: `"linear"`, `"uniform"`, or a probability for each block.
        granularity, scaling, seed: As in `StochasticDepthResidual`.
        epsilon, momentum: Arguments of batch normalization.
        output_stride: Largest factor by which height and width are divided; later stages are dilated instead.
    """

    blocks: tuple[int, ...]
    stem: str = "cifar"
    survival_probability: float = 1.0
    survival_schedule: str | Sequence[float] = "linear"
    granularity: str = "batch"
    scaling: str = "inference"
    seed: int | None = None
    epsilon: float = 1e-5
    momentum: float = 0.9
    output_stride: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "blocks", _integers("blocks", self.blocks))
        _check(sum(self.blocks) <= MOST_BLOCKS, "blocks", self.blocks, f"at most {MOST_BLOCKS:,} in all")
        check_choice("stem", self.stem, STEMS)
        check_probability(self.survival_probability)
        if not isinstance(self.survival_schedule, str) and isinstance(self.survival_schedule, Sequence):
            object.__setattr__(self, "survival_schedule", tuple(self.survival_schedule))
        resolve(self.survival_schedule, self.num_blocks, self.survival_probability)
        check_choice("scaling", self.scaling, ("inference", "training"))
        _check(
            self.seed is None or (isinstance(self.seed, Integral) and not isinstance(self.seed, bool)),
            "seed",
            self.seed,
            "an integer or None",
        )
        check_number("epsilon", self.epsilon, "a positive number", lambda epsilon: epsilon > 0)
        _check_rate("momentum", self.momentum)
        strides = tuple(self.stem_stride * 2**i for i in range(len(self.blocks)))
        _check(
            self.output_stride is None or (_positive(self.output_stride) and self.output_stride in strides),
            "output_stride",
            self.output_stride,
            f"None or one of {strides}",
        )

    @property
    def num_blocks(self) -> int:
        """Number of blocks including downsampling blocks, the `L` of the survival schedule."""
        return sum(self.blocks)

    @property
    def survival_probabilities(self) -> tuple[float, ...]:
        """Survival probability of each block, from the input on."""
        return resolve(self.survival_schedule, self.num_blocks, self.survival_probability)

    @property
    def expected_depth(self) -> float:
        """Expected number of blocks that survive a training step."""
        return expected_depth(self.survival_probabilities)

    @property
    def stem_stride(self) -> int:
        return 1 if self.stem == "cifar" else 4

    @property
    def min_size(self) -> int:
        """The least height and width of an input, which leaves one pixel in the last stage."""
        return self.stem_stride * 2 ** (len(self.blocks) - 1)

    @property
    def stage_strides(self) -> tuple[tuple[int, int, int], ...]:
        """For each stage: its stride, and the dilation rates before and after the strided layer.

        A stride beyond `output_stride` is replaced by dilation of all later layers, so that the network computes the
        same features at more positions.
        """
        strides, reached, dilation = [], self.stem_stride, 1
        for stage in range(len(self.blocks)):
            stride, before = (1 if stage == 0 else 2), dilation
            if self.output_stride is not None and reached * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            strides.append((stride, before, dilation))
        return tuple(strides)


@dataclass(frozen=True, kw_only=True)
class ResNetSpec(ConvolutionalSpec):
    """A residual network or, without shortcuts, a plain network.

    Attributes:
        filters: Channels of the 3x3 convolutions of each stage.
        block: `"basic"` (two 3x3 convolutions), `"bottleneck"` (1x1, 3x3, 1x1 with four times the channels), or one
            of these with normalization and ReLU before the convolutions: `"preactivation_basic"`,
            `"preactivation_bottleneck"`, and `"preactivation"`, the bottleneck with the strides at the end of stages as
            in keras.applications.
        shortcut: Shortcut of blocks that change the shape: `"average"` or `"slice"` (without parameters, option A, see
            `IdentityShortcut`), `"projection"` (a 1x1 convolution, option B). `"none"`: no block has a shortcut.
        stride_in: Convolution of a bottleneck that has the stride: `"first"` (the paper) or `"middle"` (v1.5).
        stem_filters: Channels of the stem.
        use_bias: Whether convolutions have biases.
        gates: `"independent"` or `"systematic"`, the latter for stacked blocks only.
        stacked: Whether equal blocks of a stage form one `StochasticDepthStack`, or are separate layers with names.
        memory_efficient: As in `StochasticDepthStack`; for stacked blocks only.
    """

    filters: tuple[int, ...]
    block: str = "basic"
    shortcut: str = "average"
    stride_in: str = "first"
    stem_filters: int = 16
    use_bias: bool = False
    gates: str = "independent"
    stacked: bool = True
    memory_efficient: bool = False

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "filters", _integers("filters", self.filters))
        _check(
            len(self.filters) == len(self.blocks),
            "filters",
            self.filters,
            f"as long as `blocks`, {len(self.blocks)}",
        )
        check_choice("block", self.block, tuple(BLOCK_KINDS))
        check_choice("shortcut", self.shortcut, SHORTCUTS)
        check_choice("stride_in", self.stride_in, ("first", "middle"))
        check_integer("stem_filters", self.stem_filters, maximum=MOST_UNITS)
        check_choice("granularity", self.granularity, ("batch", "sample", "subset"))
        check_choice("gates", self.gates, ("independent", "systematic"))
        if self.gates == "systematic":
            _check(self.stacked, "stacked", self.stacked, 'True with gates="systematic"')
            _check(
                self.granularity == "batch",
                "granularity",
                self.granularity,
                '"batch" with gates="systematic"',
            )
        check_flag("memory_efficient", self.memory_efficient)
        check_flag("stacked", self.stacked)
        check_flag("use_bias", self.use_bias)
        if self.memory_efficient:
            _check(self.stacked and self.shortcut != "none", "memory_efficient", True, "False without stacked blocks")
        if self.shortcut == "none":
            _check(
                self.survival_probability == 1 and isinstance(self.survival_schedule, str),
                "survival_probability",
                self.survival_probability,
                "1 in a network without shortcuts: nothing would be left of a dropped block",
            )

    @classmethod
    def cifar_depth(cls, depth: int, block: str = "basic") -> tuple[int, int, int]:
        """Return the blocks per stage of a network with a given depth (He et al., 2016, section 4.2; 2016b, section 4).

        The depth is `6n + 2`, or `9n + 2` with bottlenecks.
        """
        check_choice("block", block, tuple(BLOCK_KINDS))
        step = 3 * len(BLOCK_KINDS[block].convolutions)
        examples = {6: "20, 32, 44, 56, 110, 1202", 9: "29, 164, 1001"}[step]
        ok = _positive(depth) and depth > step and depth % step == 2
        _check(ok, "depth", depth, f"{step}n + 2 for n = 1, 2, ... ({examples})")
        return ((depth - 2) // step,) * 3

    @classmethod
    def wide_depth(cls, depth: int) -> tuple[int, int, int]:
        """Return the blocks per stage of a wide network with `depth = 6n + 4` (Zagoruyko and Komodakis, 2016)."""
        _check(_positive(depth) and depth > 4 and depth % 6 == 4, "depth", depth, "6n + 4 for n = 1, 2, ... (28, 40)")
        return ((depth - 4) // 6,) * 3

    @property
    def depth(self) -> int:
        """Number of layers with weights as the papers count them: with stem and classifier, without projections."""
        return self.num_blocks * len(self.kind.convolutions) + 2

    @property
    def kind(self) -> BlockKind:
        """Row of the table of block kinds."""
        return BLOCK_KINDS[self.block]

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(self.kind.expansion * f for f in self.filters)


@dataclass(frozen=True, kw_only=True)
class DenseNetSpec(ConvolutionalSpec):
    """A densely connected network.

    Attributes:
        growth_rate: Features that each layer adds.
        stem_filters: Channels of the stem; `None`: twice the growth rate (the paper's DenseNet-BC).
        bottleneck_width: Features of the 1x1 convolution before each 3x3, as a multiple of `growth_rate`; 0: none.
        compression: Fraction of the features that a transition keeps, in (0, 1].
        dropout_rate: Dropout after each 3x3 convolution.
        memory_efficient: As in `DenseBlock`.
    """

    growth_rate: int
    stem_filters: int | None = None
    bottleneck_width: int = 4
    compression: float = 0.5
    dropout_rate: float = 0.0
    memory_efficient: bool | str = "auto"

    def __post_init__(self):
        super().__post_init__()
        check_integer("growth_rate", self.growth_rate, maximum=MOST_UNITS)
        if self.stem_filters is not None:
            check_integer("stem_filters", self.stem_filters, maximum=MOST_UNITS)
        _check(
            self.bottleneck_width == 0 or _positive(self.bottleneck_width),
            "bottleneck_width",
            self.bottleneck_width,
            "a positive integer, or 0 for none",
        )
        check_number("compression", self.compression, "a number in (0, 1]", lambda kept: 0 < kept <= 1)
        _check_rate("dropout_rate", self.dropout_rate)
        check_choice("memory_efficient", self.memory_efficient, ("auto", True, False))
        check_choice("granularity", self.granularity, ("batch", "sample"))

    @property
    def depth(self) -> int:
        """Number of layers with weights as the paper counts them, including stem, transitions and classifier."""
        return self.num_blocks * (2 if self.bottleneck_width else 1) + len(self.blocks) + 1

    @classmethod
    def cifar_depth(cls, depth: int, bottleneck: bool) -> tuple[int, int, int]:
        """Return the layers per dense block of a network with `depth` layers (Huang et al., 2017, section 3)."""
        check_flag("bottleneck", bottleneck)
        step = 6 if bottleneck else 3
        ok = _positive(depth) and depth > 4 and (depth - 4) % step == 0
        kind = "with bottlenecks" if bottleneck else "without bottlenecks"
        _check(ok, "depth", depth, f"{step}n + 4 for n = 1, 2, ... in a DenseNet {kind}")
        return ((depth - 4) // step,) * 3


def override(spec: Spec, **changes: Any) -> Spec:
    """Return a copy of a spec with some fields changed.

    Raises:
        TypeError: `spec` is not a spec, or a name is not a field of this kind of spec.
    """
    check_type("spec", spec, Spec, "a spec of a network")
    fields = sorted(f.name for f in dataclasses.fields(spec))
    if unknown := sorted(set(changes) - set(fields)):
        lacking = ", ".join(name + hint(name, fields) for name in unknown)
        raise TypeError(f"{type(spec).__name__} has no {lacking}. Its arguments are: {', '.join(fields)}")
    return dataclasses.replace(spec, **changes)


def can_drop_blocks(spec: Spec) -> bool:
    """Return whether blocks of a network can be dropped, which is not so for plain networks and perceptrons."""
    try:
        dataclasses.replace(spec, survival_probability=0.5)  # type: ignore[call-arg]  # which is what is asked here
    except (TypeError, ValueError):
        return False
    return True
