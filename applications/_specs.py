"""Specs of residual networks by depth or by blocks, for several families of models."""

from collections.abc import Sequence
from typing import cast

from keras_sd.models.specs import ResNetSpec
from keras_sd.utils.checks import refusal

# Blocks and constants of the networks with published weights: those of torchvision and timm, and those of Keras.
TORCH = {"block": "basic"}
KERAS = {"block": "bottleneck", "use_bias": True, "epsilon": 1.001e-5, "momentum": 0.99}


def check_one_size(depth: int | None, blocks: Sequence[int] | None) -> None:
    """Raise a `ValueError` unless exactly one of depth and blocks is given."""
    if (depth is None) == (blocks is None):
        raise refusal("depth", "given, or else `blocks`, and not both", depth)


def cifar_resnet(
    depth: int | None = None,
    blocks: Sequence[int] | None = None,
    filters: Sequence[int] = (16, 32, 64),
    **arguments,
) -> ResNetSpec:
    """Return the spec of a network for CIFAR, by its depth or by the blocks of each stage."""
    check_one_size(depth, blocks)
    if blocks is None:
        blocks = ResNetSpec.cifar_depth(cast(int, depth), arguments.get("block", "basic"))
    return ResNetSpec(blocks=cast(tuple, blocks), filters=cast(tuple, filters), **arguments)


def imagenet_resnet(blocks: Sequence[int], **arguments) -> ResNetSpec:
    """Return the spec of a network for ImageNet; every block is a layer, named as in keras.applications."""
    return ResNetSpec(
        blocks=cast(tuple, blocks),
        filters=(64, 128, 256, 512),
        stem="imagenet",
        stem_filters=64,
        shortcut="projection",
        stacked=False,
        **arguments,
    )
