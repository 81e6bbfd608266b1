"""The published weights known to this package: one frozen row for each file.

A row has the file, its license, the preprocessing of images, the factory arguments that the weights need, and the
accuracy stated by the publisher. Nothing here downloads or builds.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_sd.utils.checks import check_choice, check_flag, check_integer, check_number, refusal
from keras_sd.weights import hub
from keras_sd.weights.layouts import LAYOUTS
from keras_sd.weights.remote_file import RemoteFile

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MAX_SIZE = 1 << 16  # pixels; keeps a damaged file from requesting more memory than there is


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an 8-bit image for a network: resize, crop, then `(image * scale - mean) / std`.

    Values that are not allowed raise a `ValueError`.

    Attributes:
        size: Height and width of the input, in pixels.
        crop: Center crop, as a fraction of the resized image's shorter side; 1.0 for no crop.
        keep_aspect: Whether resizing keeps the aspect ratio (shorter side to `size / crop`) or stretches the image.
        interpolation: "nearest", "bilinear" or "bicubic"; None if the training images already have the right size.
        channels: "RGB" or "BGR", the channel order of training; "L" for gray images.
        scale: Factor for the 0-255 values, applied first.
        mean: Subtracted from each channel after scaling, in the order of `channels`; or one number for all.
        std: Divisor of each channel, applied last; or one number for all.
    """

    size: int = 224
    crop: float = 1.0
    keep_aspect: bool = True
    interpolation: str | None = "bicubic"
    channels: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self):
        check_integer("size", self.size, maximum=_MAX_SIZE)
        check_number("crop", self.crop, "a number in (0, 1]", lambda value: 0 < value <= 1)
        check_flag("keep_aspect", self.keep_aspect)
        check_choice("interpolation", self.interpolation, (None, "nearest", "bilinear", "bicubic"))
        check_choice("channels", self.channels, ("RGB", "BGR", "L"))
        check_number("scale", self.scale, "a positive number", lambda value: value > 0)
        self._check_each("mean", "finite numbers", lambda value: True)
        self._check_each("std", "positive numbers", lambda value: value > 0)
        with np.errstate(all="ignore"):
            extremes = [np.float32(255 * self.scale) - np.float32(self.mean), -np.float32(self.mean)]
            normalized = np.array(extremes) / np.float32(self.std)
        if not np.isfinite(normalized).all():
            raise refusal("std", "positive numbers that pixels can be divided by", self.std)

    def _check_each(self, name, allowed, within):
        values, counts = getattr(self, name), {1, len(self.channels)}
        allowed = f"{' or '.join(map(str, sorted(counts)))} {allowed}"
        if not isinstance(values, list | tuple) or len(values) not in counts:
            raise refusal(name, allowed, values)
        object.__setattr__(self, name, tuple(check_number(name, value, allowed, within) for value in values))

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Preprocessing:
        """Make a `Preprocessing` from plain JSON values.

        Args:
            values: Values by attribute name; missing ones have their defaults.

        Raises:
            ValueError: If a name is unknown, or a value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, Mapping) or not set(values) <= set(known):
            raise refusal("preprocessing", f"a dictionary with some of the keys {', '.join(known)}", values)
        return cls(**dict[str, Any](values))


@dataclass(frozen=True)
class WeightsRow:
    """Weights with a description: published weights, or those of an exported folder.

    Attributes:
        architecture: The factory's name, such as "ResNet50".
        tag: Value of `weights=`, such as "imagenet" or "a1_in1k".
        file: The published file; None for an exported folder.
        license: License of the weights, as an SPDX name if there is one.
        source: Page that publishes the file and its description.
        layout: Name of the file's layout in `keras_sd.weights.layouts.LAYOUTS`.
        include_top: Whether the file has the classifier.
        classes: Number of classes of that classifier.
        preprocessing: Preprocessing of images; None if not known.
        arguments: Factory arguments that these weights need.
        accuracy: Top-1 accuracy in [0, 1] as published for this preprocessing, or None.
        accuracy_source: Where the accuracy is published.
        class_names: Class names of a trained model.
        input_shape: Input shape (height, width, channels) of a trained model; None for the architecture's.
        classifier_activation: Name of the activation that the classifier was trained with; None for logits.
    """

    architecture: str
    tag: str
    file: RemoteFile | None
    license: str
    source: str
    layout: str
    preprocessing: Preprocessing | None
    include_top: bool = True
    classes: int = 1000
    arguments: Mapping[str, object] = field(default_factory=dict)
    accuracy: float | None = None
    accuracy_source: str | None = None
    class_names: tuple[str, ...] = ()
    input_shape: tuple[int, int, int] | None = None
    classifier_activation: str | None = "softmax"

    def __post_init__(self):
        object.__setattr__(self, "arguments", MappingProxyType(dict(self.arguments)))

    @property
    def published(self) -> RemoteFile:
        """The published file; raises a `ValueError` for an exported folder, which has none."""
        if self.file is None:
            raise ValueError(f"{self.name} is an exported folder, not a published file")
        return self.file

    @property
    def name(self) -> str:
        """Name of the row, such as "ResNet50.a1_in1k" or "ResNet50.imagenet-notop"."""
        return f"{self.architecture}.{self.tag}{'' if self.include_top else '-notop'}"


def published_arguments(layout: str, architecture: str) -> dict[str, object]:
    """Return the arguments of an architecture that networks published in a layout need."""
    needed = dict(LAYOUTS[layout].arguments)
    if architecture.startswith("DenseNet"):
        return {"epsilon": needed["epsilon"]}
    if architecture in ("ResNet18", "ResNet34") or architecture.endswith("V2"):  # no choice of `stride_in`
        needed.pop("stride_in", None)
    return needed


_KERAS_SITE = "https://keras.io/api/applications"
_KERAS_BASE = "https://storage.googleapis.com/tensorflow/keras-applications"
# BGR images, with the ImageNet mean of each channel subtracted, not scaled.
_CAFFE = Preprocessing(
    keep_aspect=False,
    interpolation="nearest",
    channels="BGR",
    scale=1.0,
    mean=(103.939, 116.779, 123.68),
    std=(1.0, 1.0, 1.0),
)
_PLUS_MINUS_ONE = Preprocessing(
    keep_aspect=False, interpolation="nearest", scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)
)
_TORCH = Preprocessing(keep_aspect=False, interpolation="nearest")

# License and preprocessing of each family. The license is that of the weights that Keras names as the origin of its
# files.
_RESNET, _RESNET_V2, _DENSENET = ("MIT", _CAFFE), ("BSD-3-Clause", _PLUS_MINUS_ONE), ("BSD-3-Clause", _TORCH)
# MD5 with and without the classifier from keras/src/applications/{resnet,densenet}.py; accuracy from keras.io.
_KERAS = (
    ("ResNet50", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626", 0.749, _RESNET),
    ("ResNet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21", 0.764, _RESNET),
    ("ResNet152", "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c", 0.766, _RESNET),
    ("ResNet50V2", "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917", 0.760, _RESNET_V2),
    ("ResNet101V2", "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5", 0.772, _RESNET_V2),
    ("ResNet152V2", "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33", 0.780, _RESNET_V2),
    ("DenseNet121", "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738", 0.750, _DENSENET),
    ("DenseNet169", "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b", 0.762, _DENSENET),
    ("DenseNet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1", 0.773, _DENSENET),
)

# Files, sizes and errors from the README of akamaster/pytorch_resnet_cifar10. For 110 and 1202, only the first
# digits of the SHA-256 are published, in the file name.
_CIFAR_SOURCE = "https://github.com/akamaster/pytorch_resnet_cifar10"
_CIFAR = (
    (20, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 1_099_231, 0.9173),
    (32, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 1_890_043, 0.9263),
    (44, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 2_680_855, 0.9310),
    (56, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", 3_471_733, 0.9339),
    (110, "1d1ed7c2", None, 0.9368),
    (1202, "f3b1deed", None, 0.9382),
)


def _keras_rows():
    for architecture, with_top, without_top, accuracy, (license, preprocessing) in _KERAS:
        family = "densenet" if architecture.startswith("DenseNet") else "resnet"
        for md5, include_top in ((with_top, True), (without_top, False)):
            suffix = "" if include_top else "_notop"
            file = f"{architecture.lower()}_weights_tf_dim_ordering_tf_kernels{suffix}.h5"
            yield WeightsRow(
                architecture=architecture,
                tag="imagenet",
                file=RemoteFile(f"{_KERAS_BASE}/{family}/{file}", md5=md5),
                license=license,
                source=_KERAS_SITE,
                layout="keras",
                include_top=include_top,
                preprocessing=preprocessing,
                arguments=published_arguments("keras", architecture),
                accuracy=accuracy if include_top else None,
                accuracy_source=_KERAS_SITE if include_top else None,
            )


def _hub_rows():
    for name, tag, (size, crop, interpolation), license, accuracy, sha256 in hub.FILES:
        repository = f"https://huggingface.co/timm/{name}.{tag}"
        architecture = name.replace("resnet", "ResNet").replace("densenet", "DenseNet")
        mean_std = {"mean": (0.5,) * 3, "std": (0.5,) * 3} if tag.startswith("ra4") else {}
        yield WeightsRow(
            architecture=architecture,
            tag=tag,
            file=hub.hosted(repository, f"{architecture}.{tag}", sha256),
            license=license,
            source=repository,
            layout="timm",
            preprocessing=Preprocessing(size, crop, interpolation=interpolation, **mean_std),
            arguments=published_arguments("timm", architecture),
            accuracy=accuracy,
            accuracy_source=hub.RESULTS,
        )


def _cifar_rows():
    folder = "raw/master/pretrained_models"
    for depth, sha256, size, accuracy in _CIFAR:
        yield WeightsRow(
            architecture=f"ResNet{depth}",
            tag="cifar10",
            file=RemoteFile(f"{_CIFAR_SOURCE}/{folder}/resnet{depth}-{sha256[:8]}.th", sha256, size=size),
            license="BSD-2-Clause",
            source=_CIFAR_SOURCE,
            layout="cifar",
            preprocessing=Preprocessing(size=32, interpolation=None),
            classes=10,
            arguments=published_arguments("cifar", f"ResNet{depth}"),
            accuracy=accuracy,
            accuracy_source=_CIFAR_SOURCE,
        )


WEIGHTS: Mapping[str, WeightsRow] = MappingProxyType(
    {row.name: row for rows in (_cifar_rows, _keras_rows, _hub_rows) for row in rows()}
)


def list_weights(architecture: str | None = None) -> list[str]:
    """List the names of the published weights.

    Args:
        architecture: The factory's name, such as "ResNet50"; None for all.

    Returns:
        The names, such as "ResNet50.a1_in1k".
    """
    return [name for name, row in WEIGHTS.items() if architecture in (None, row.architecture)]


def get_row(name: str) -> WeightsRow:
    """Look up a row by name.

    Args:
        name: A name of `list_weights()`.

    Returns:
        The `WeightsRow`.

    Raises:
        ValueError: If there is no such row; the message lists similar names.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    near = [known for known in WEIGHTS if known.startswith(name)]
    near = near[:4] or difflib.get_close_matches(name, WEIGHTS, n=4, cutoff=0.4)
    known = f"such as {' or '.join(near)}" if near else f"one of {', '.join(WEIGHTS)}"
    raise refusal("name", f"the name of published weights, {known}", name)


def find(architecture: str, tag: str, include_top: bool = True) -> WeightsRow:
    """Look up the row of `weights=tag` for a factory.

    Args:
        architecture: The factory's name, such as "ResNet50".
        tag: A tag such as "imagenet", "cifar10" or "a1_in1k".
        include_top: Whether the classifier is wanted. Keras publishes a smaller file without it.

    Returns:
        The `WeightsRow`; one with the classifier if there is no file without it.

    Raises:
        ValueError: If the architecture has no weights with that tag; the message lists those that it has.
    """
    for suffix in ("",) if include_top else ("-notop", ""):
        if (row := WEIGHTS.get(f"{architecture}.{tag}{suffix}")) is not None:
            return row
    tags = list(dict.fromkeys(WEIGHTS[name].tag for name in list_weights(architecture)))
    allowed = f"one of {', '.join(map(repr, tags))}" if tags else "None (nothing is published)"
    raise refusal("weights", f"{allowed} for {architecture}, a path, or 'hf://owner/name'", tag)
