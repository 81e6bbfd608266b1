"""Comparable published results on ImageNet: one crop of 224x224, the same training code."""

from dataclasses import dataclass

_TORCH = "[fb.resnet.torch](https://github.com/facebookarchive/fb.resnet.torch/tree/master/pretrained)"
_HUANG = "[Huang et al., 2017](https://arxiv.org/abs/1608.06993)"


@dataclass(frozen=True)
class Point:
    """A published result.

    Attributes:
        model: Name of the architecture in `keras_sd.applications`.
        percent: Top-1 error on the validation images of ImageNet, one crop of 224x224.
        source: The publication.
    """

    model: str
    percent: float
    source: str


# Huang et al. 2017, section 4.3, compare with these ResNets, which were trained by the same public code as theirs.
IMAGENET = (
    Point("ResNet18", 30.43, _TORCH),
    Point("ResNet34", 26.73, _TORCH),
    Point("ResNet50", 24.01, _TORCH),
    Point("ResNet101", 22.44, _TORCH),
    Point("ResNet152", 22.16, _TORCH),
    Point("DenseNet121", 25.02, f"{_HUANG}, table 3"),
    Point("DenseNet169", 23.80, f"{_HUANG}, table 3"),
    Point("DenseNet201", 22.58, f"{_HUANG}, table 3"),
    Point("DenseNet264", 22.15, f"{_HUANG}, table 3"),
    Point("DenseNet161", 22.2, "[the authors' code](https://github.com/liuzhuang13/DenseNet)"),
)
