"""Losses and accuracy for integer labels and for soft labels (mixup, cutmix)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_sd.training.config import TrainConfig
from keras_sd.utils.aliases import Tensor


def _soft_labels(labels, outputs):
    """Return soft labels, rows that sum to 1; integers become one-hot rows."""
    if tuple(labels.shape[1:]) == tuple(outputs.shape[1:]):
        return ops.cast(labels, outputs.dtype)
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), outputs.shape[-1], dtype=outputs.dtype)


@keras.saving.register_keras_serializable(package="keras_sd")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of class probabilities, for integer and soft labels.

    Args:
        label_smoothing: Float in [0, 1), the fraction of each label that is spread evenly over all classes.
        **kwargs: As in `keras.losses.Loss`.

    Reference:
        [Szegedy et al., 2016](https://arxiv.org/abs/1512.00567), section 7.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        soft = _soft_labels(y_true, y_pred)
        return keras.losses.categorical_crossentropy(soft, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_sd")
def one_versus_rest(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the classes of binary cross-entropy, each class against the rest, for sigmoid outputs.

    Each class of a mixed image counts as present, whatever its fraction.

    Args:
        y_true: Integer or soft labels.
        y_pred: Independent probability of each class.

    Returns:
        Tensor with the loss of each example.

    Reference:
        [Wightman et al., 2021](https://arxiv.org/abs/2110.00476), section 2.1
    """
    present = ops.cast(_soft_labels(y_true, y_pred) > 0, y_pred.dtype)
    return keras.losses.binary_crossentropy(present, y_pred)


def _hits(y_true, y_pred):
    return ops.cast(ops.equal(ops.argmax(_soft_labels(y_true, y_pred), -1), ops.argmax(y_pred, -1)), "float32")


@keras.saving.register_keras_serializable(package="keras_sd")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """Fraction of the examples whose most probable class is that of the label, or the largest of a mixed label.

    Keras's "accuracy" chooses the kind of labels in its first batch; here a model can train with mixed labels and be
    tested with integers.
    """

    def __init__(self, name: str = "accuracy", dtype: str | None = None) -> None:
        super().__init__(fn=_hits, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


def loss_of(config: TrainConfig) -> keras.losses.Loss | Callable[[Tensor, Tensor], Tensor] | str:
    """Return the loss of a configuration, as `compile` accepts it."""
    soft = config.label_smoothing or config.mixup or config.cutmix
    if config.loss == "sparse_categorical_crossentropy" and soft:
        return CrossEntropy(config.label_smoothing)
    return keras.saving.get_registered_object(config.loss) or config.loss
