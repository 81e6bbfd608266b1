"""Table of the kinds of residual blocks, which the builder and the specs use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockKind:
    """Layout of the branch of a residual block, and the position of its activations.

    Attributes:
        title: Name of the kind in texts.
        convolutions: For each convolution of the branch, its kernel size and its channels as a multiple of the stage's
            `filters`. There is a normalization and a ReLU between each two.
        preactivated: Whether each convolution follows a normalization and a ReLU, and nothing follows the sum (He et
            al., 2016b); if not, a ReLU follows the sum.
        strided_last: Whether the last block of a stage has the stride to the next stage, as in keras.applications; if
            not, the first block of a stage has the stride.
    """

    title: str
    convolutions: tuple[tuple[int, int], ...]
    preactivated: bool = False
    strided_last: bool = False

    @property
    def expansion(self) -> int:
        """Output channels, as a multiple of the stage's `filters`."""
        return self.convolutions[-1][1]

    def strided(self, stride_in: str) -> int:
        """Return the index of the convolution with the stride; `stride_in` matters only in bottlenecks."""
        return 1 if len(self.convolutions) == 3 and stride_in == "middle" else 0


_BASIC = (3, 1), (3, 1)
_BOTTLENECK = (1, 1), (3, 1), (1, 4)

BLOCK_KINDS = {
    "basic": BlockKind("basic", _BASIC),
    "bottleneck": BlockKind("bottleneck", _BOTTLENECK),
    "preactivation": BlockKind("pre-activation bottleneck", _BOTTLENECK, preactivated=True, strided_last=True),
    "preactivation_basic": BlockKind("pre-activation basic", _BASIC, preactivated=True),
    "preactivation_bottleneck": BlockKind("pre-activation bottleneck", _BOTTLENECK, preactivated=True),
}
