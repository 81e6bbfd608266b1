# Generated: python -m keras_sd.applications._stubs applications/__init__.pyi

import os
from collections.abc import Callable, Sequence

import keras

from keras_sd.applications import densenet as densenet
from keras_sd.applications import perceptron as perceptron
from keras_sd.applications import plainnet as plainnet
from keras_sd.applications import resnet as resnet
from keras_sd.applications import resnet_v2 as resnet_v2
from keras_sd.applications import wide_resnet as wide_resnet
from keras_sd.applications._cards import model_card as model_card
from keras_sd.applications._cards import models_table as models_table
from keras_sd.applications._registry import MODELS as MODELS
from keras_sd.applications._registry import Model as Model
from keras_sd.applications._registry import find as find
from keras_sd.applications._registry import get_model as get_model
from keras_sd.applications._registry import list_models as list_models
from keras_sd.weights import WeightsFile

def Perceptron(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "keras_sd>threshold",
    name: str | None = "perceptron",
    *,
    rescale: bool = False,
    widths: tuple[int, ...] = (),
    dropout_rate: float = 0.0,
) -> keras.Model:
    """Perceptron for 32x32 images, 30,730 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        widths, dropout_rate: Fields of `keras_sd.models.specs.MLPSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Rosenblatt, 1958](https://doi.org/10.1037/h0042519)
    """

def MLP(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "mlp",
    *,
    rescale: bool = False,
    widths: tuple[int, ...] = (512, 512),
    dropout_rate: float = 0.0,
) -> keras.Model:
    """MLP for 32x32 images, 1,841,162 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        widths, dropout_rate: Fields of `keras_sd.models.specs.MLPSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Rumelhart et al., 1986](https://doi.org/10.1038/323533a0)
    """

def PlainNet20(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet20",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 3, 3),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """PlainNet20 for 32x32 images, 269,722 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2
    """

def PlainNet32(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet32",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (5, 5, 5),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """PlainNet32 for 32x32 images, 464,154 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2
    """

def PlainNet44(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet44",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (7, 7, 7),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """PlainNet44 for 32x32 images, 658,586 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2
    """

def PlainNet56(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet56",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (9, 9, 9),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """PlainNet56 for 32x32 images, 853,018 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2
    """

def PlainNet110(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet110",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (18, 18, 18),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """PlainNet110 for 32x32 images, 1,727,962 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2
    """

def PlainNet(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "plainnet",
    *,
    rescale: bool = False,
    depth: int | None = None,
    blocks: Sequence[int] | None = None,
    filters: Sequence[int] = (16, 32, 64),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    block: str = "basic",
    shortcut: str = "none",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """A very deep network without shortcuts, of any depth and width.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        depth: Number of layers, `6n + 2`: three stages of `n` pairs of convolutions. Alternatively, pass `blocks`.
        blocks: Number of pairs of convolutions in each stage.
        filters: Channels of each stage.
        stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385)
    """

def ResNet20(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet20",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 3, 3),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet20 for 32x32 images, 269,722 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet32(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet32",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (5, 5, 5),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet32 for 32x32 images, 464,154 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet44(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet44",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (7, 7, 7),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet44 for 32x32 images, 658,586 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet56(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet56",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (9, 9, 9),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet56 for 32x32 images, 853,018 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet110(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet110",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (18, 18, 18),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet110 for 32x32 images, 1,727,962 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet1202(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet1202",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (200, 200, 200),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet1202 for 32x32 images, 19,421,274 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"cifar10"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), section 4.2 and table 6
    """

def ResNet18(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet18",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (2, 2, 2, 2),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "basic",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 64,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet18 for 224x224 images, 11,689,512 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"a1_in1k"`, `"a2_in1k"`, `"a3_in1k"`, `"tv_in1k"`, `"fb_ssl_yfcc100m_ft_in1k"`, `"fb_swsl_ig1b_ft_in1k"`, `"gluon_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), table 1
    """

def ResNet34(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet34",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "basic",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 64,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet34 for 224x224 images, 21,797,672 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"a1_in1k"`, `"a2_in1k"`, `"a3_in1k"`, `"bt_in1k"`, `"ra4_e3600_r224_in1k"`, `"tv_in1k"`, `"gluon_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), table 1
    """

def ResNet50(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet50",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "bottleneck",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet50 for 224x224 images, 25,583,592 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"a1_in1k"`, `"a1h_in1k"`, `"a2_in1k"`, `"a3_in1k"`, `"b1k_in1k"`, `"b2k_in1k"`, `"c1_in1k"`, `"c2_in1k"`, `"d_in1k"`, `"ram_in1k"`, `"am_in1k"`, `"ra_in1k"`, `"bt_in1k"`, `"tv_in1k"`, `"tv2_in1k"`, `"fb_ssl_yfcc100m_ft_in1k"`, `"fb_swsl_ig1b_ft_in1k"`, `"gluon_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), table 1
    """

def ResNet101(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet101",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 4, 23, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "bottleneck",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet101 for 224x224 images, 44,601,832 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"a1h_in1k"`, `"a1_in1k"`, `"a2_in1k"`, `"a3_in1k"`, `"tv_in1k"`, `"tv2_in1k"`, `"gluon_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), table 1
    """

def ResNet152(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet152",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 8, 36, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "bottleneck",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet152 for 224x224 images, 60,268,520 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"a1h_in1k"`, `"a1_in1k"`, `"a2_in1k"`, `"a3_in1k"`, `"tv_in1k"`, `"tv2_in1k"`, `"gluon_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385), table 1
    """

def ResNet(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet",
    *,
    rescale: bool = False,
    depth: int | None = None,
    blocks: Sequence[int] | None = None,
    filters: Sequence[int] = (16, 32, 64),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    block: str = "basic",
    shortcut: str = "average",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """A residual network of any depth and width.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        depth: Number of layers, `6n + 2`: three stages of `n` basic blocks. Alternatively, pass `blocks`.
        blocks: Number of blocks in each stage.
        filters: Channels of the 3x3 convolutions of each stage.
        stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1512.03385)
    """

def ResNet164(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet164",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (18, 18, 18),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "preactivation_bottleneck",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet164 for 32x32 images, 1,703,258 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1603.05027), section 4
    """

def ResNet1001(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet1001",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (111, 111, 111),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (16, 32, 64),
    block: str = "preactivation_bottleneck",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet1001 for 32x32 images, 10,327,706 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1603.05027), section 4
    """

def ResNet50V2(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet50v2",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "preactivation",
    shortcut: str = "projection",
    stride_in: str = "middle",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet50V2 for 224x224 images, 25,568,360 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1603.05027)
    """

def ResNet101V2(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet101v2",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 4, 23, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "preactivation",
    shortcut: str = "projection",
    stride_in: str = "middle",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet101V2 for 224x224 images, 44,577,896 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1603.05027)
    """

def ResNet152V2(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "resnet152v2",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (3, 8, 36, 3),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256, 512),
    block: str = "preactivation",
    shortcut: str = "projection",
    stride_in: str = "middle",
    stem_filters: int = 64,
    use_bias: bool = True,
    gates: str = "independent",
    stacked: bool = False,
    memory_efficient: bool = False,
) -> keras.Model:
    """ResNet152V2 for 224x224 images, 60,236,904 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [He et al., 2016](https://arxiv.org/abs/1603.05027)
    """

def WideResNet28_10(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "wideresnet28_10",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (4, 4, 4),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (160, 320, 640),
    block: str = "preactivation_basic",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """WideResNet28_10 for 32x32 images, 36,479,194 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Zagoruyko and Komodakis, 2016](https://arxiv.org/abs/1605.07146), section 2 and table 1
    """

def WideResNet40_4(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "wideresnet40_4",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 6, 6),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    filters: tuple[int, ...] = (64, 128, 256),
    block: str = "preactivation_basic",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """WideResNet40_4 for 32x32 images, 8,949,210 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, filters, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Zagoruyko and Komodakis, 2016](https://arxiv.org/abs/1605.07146), section 2 and table 1
    """

def WideResNet(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "wideresnet",
    *,
    rescale: bool = False,
    depth: int = 28,
    widen_factor: int = 10,
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    block: str = "preactivation_basic",
    shortcut: str = "projection",
    stride_in: str = "first",
    stem_filters: int = 16,
    use_bias: bool = False,
    gates: str = "independent",
    stacked: bool = True,
    memory_efficient: bool = False,
) -> keras.Model:
    """A wide residual network of any depth and width.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        depth: Number of layers, `6n + 4`, as the paper counts them: three stages of `n` blocks of two convolutions,
            the stem, and three projections.
        widen_factor: Channels of the stages, as a multiple of 16, 32 and 64.
        stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, block, shortcut, stride_in, stem_filters, use_bias, gates, stacked, memory_efficient: Fields of `keras_sd.models.specs.ResNetSpec`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Zagoruyko and Komodakis, 2016](https://arxiv.org/abs/1605.07146)
    """

def DenseNet40(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet40",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (12, 12, 12),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    growth_rate: int = 12,
    stem_filters: int | None = 16,
    bottleneck_width: int = 0,
    compression: float = 1.0,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet40 for 32x32 images, 1,019,754 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3 and table 2
    """

def DenseNet100(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet100",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (32, 32, 32),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    growth_rate: int = 12,
    stem_filters: int | None = 16,
    bottleneck_width: int = 0,
    compression: float = 1.0,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet100 for 32x32 images, 6,979,674 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3 and table 2
    """

def DenseNetBC100(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenetbc100",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (16, 16, 16),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    growth_rate: int = 12,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNetBC100 for 32x32 images, 769,210 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3 and table 2
    """

def DenseNetBC250(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenetbc250",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (41, 41, 41),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    growth_rate: int = 24,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNetBC250 for 32x32 images, 15,324,502 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3 and table 2
    """

def DenseNetBC190(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenetbc190",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (31, 31, 31),
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    growth_rate: int = 40,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNetBC190 for 32x32 images, 25,624,590 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), section 3 and table 2
    """

def DenseNet121(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet121",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 12, 24, 16),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    growth_rate: int = 32,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet121 for 224x224 images, 7,978,856 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"ra_in1k"`, `"tv_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), table 1
    """

def DenseNet161(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet161",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 12, 36, 24),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    growth_rate: int = 48,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet161 for 224x224 images, 28,681,000 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"tv_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), table 1
    """

def DenseNet169(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet169",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 12, 32, 32),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    growth_rate: int = 32,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet169 for 224x224 images, 14,149,480 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"tv_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), table 1
    """

def DenseNet201(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet201",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 12, 48, 32),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    growth_rate: int = 32,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet201 for 224x224 images, 20,013,928 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (`"imagenet"`, `"tv_in1k"`), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: 'imagenet'.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), table 1
    """

def DenseNet264(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet264",
    *,
    rescale: bool = False,
    blocks: tuple[int, ...] = (6, 12, 64, 48),
    stem: str = "imagenet",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1.001e-05,
    momentum: float = 0.99,
    output_stride: int | None = None,
    growth_rate: int = 32,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """DenseNet264 for 224x224 images, 33,337,704 parameters.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (224, 224, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 1000 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        blocks, stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, growth_rate, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec` to change in this model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993), table 1
    """

def DenseNet(
    include_top: bool = True,
    weights: str | os.PathLike | WeightsFile | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = "densenet",
    *,
    rescale: bool = False,
    depth: int | None = None,
    growth_rate: int = 12,
    bottleneck: bool = True,
    blocks: Sequence[int] | None = None,
    stem: str = "cifar",
    survival_probability: float = 1.0,
    survival_schedule: str | Sequence[float] = "linear",
    granularity: str = "batch",
    scaling: str = "inference",
    seed: int | None = None,
    epsilon: float = 1e-05,
    momentum: float = 0.9,
    output_stride: int | None = None,
    stem_filters: int | None = None,
    bottleneck_width: int = 4,
    compression: float = 0.5,
    dropout_rate: float = 0.0,
    memory_efficient: bool | str = "auto",
) -> keras.Model:
    """A densely connected network of any depth and growth rate.

    Args:
        include_top: Whether to end with global average pooling and a classifier.
        weights: `None` (random), a tag of published weights (none for this model), `"hf://owner/name"`, or the path of a
            file: `.keras`, `.weights.h5`, `.h5`, `.safetensors`, `.th`, `.pth`, ...; or of a folder written by
            `keras-sd export`, which then also sets the default input and classes; or the result of
            `keras_sd.weights.read`. Default: None.
        input_tensor: Keras tensor to use as input instead of a new one.
        input_shape: (height, width, channels), or channels first with `channels_first`. Height and width may be
            `None` in convolutional networks. Default: (32, 32, 3); without a top any height and width.
        pooling: Without a top: `None` (feature maps), `"avg"` or `"max"`.
        classes: Number of classes. With weights, a number other than 10 adds a new classifier, and a number of
            input channels other than 3 adapts the first convolution; both are logged.
        classifier_activation: Activation of the classifier; `None` for logits.
        name: Name of the model.
        rescale: Whether the model takes images with values from 0 to 255 and preprocesses them as its published
            weights require, or else divides them by 255.
        depth: Number of layers: `6n + 4` with bottlenecks, `3n + 4` without, in three dense blocks of `n` layers.
            Alternatively, pass `blocks`.
        growth_rate: Features that each layer adds.
        bottleneck: Whether to build DenseNet-BC (bottlenecks, and transitions that halve the features) or the basic
            DenseNet.
        blocks: Number of layers of each dense block.
        stem, survival_probability, survival_schedule, granularity, scaling, seed, epsilon, momentum, output_stride, stem_filters, bottleneck_width, compression, dropout_rate, memory_efficient: Fields of `keras_sd.models.specs.DenseNetSpec`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: An argument is invalid; nothing is built then.

    Reference:
        [Huang et al., 2017](https://arxiv.org/abs/1608.06993)
    """
