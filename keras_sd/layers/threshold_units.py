"""Rosenblatt's perceptron: threshold units, and a loss whose gradient descent is his learning rule."""

import keras
from keras import ops

from keras_sd.utils.aliases import Tensor


@keras.saving.register_keras_serializable(package="keras_sd")
def threshold(x: Tensor) -> Tensor:
    """Threshold unit: 1 where the weighted sum `x` is positive, else 0.

    The derivative of a threshold is zero almost everywhere. Here gradients pass through as if it were the identity,
    so that gradient descent on `perceptron_loss` is the perceptron rule.

    Examples:
        >>> units = keras_sd.layers.threshold(keras.ops.array([-1.0, 0.0, 2.0]))
        >>> keras.ops.convert_to_numpy(units).tolist()
        [0.0, 0.0, 1.0]

    Reference:
        [Rosenblatt, 1958](https://doi.org/10.1037/h0042519)
    """
    return ops.cast(x > 0, x.dtype) + (x - ops.stop_gradient(x))


@keras.saving.register_keras_serializable(package="keras_sd")
def perceptron_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Half the squared error of threshold units, summed over the units.

    Its gradient with respect to the weighted sum of a unit is `y - t`: zero for a correct unit, and the perceptron
    rule `w <- w + lr (t - y) x` for a wrong one. As Rosenblatt stated it, one example at a time:

        model.compile(keras.optimizers.SGD(1.0), keras_sd.layers.perceptron_loss)
        model.fit(x, y, batch_size=1)

    Examples:
        >>> right, wrong = [1.0, 0.0], [1.0, 1.0]
        >>> loss = keras_sd.layers.perceptron_loss(keras.ops.array([0, 0]), keras.ops.array([right, wrong]))
        >>> keras.ops.convert_to_numpy(loss).tolist()
        [0.0, 0.5]

    Args:
        y_true: Class numbers of shape (batch,) or (batch, 1), or targets of 0 and 1 of the shape of `y_pred`.
        y_pred: Outputs of shape (batch, units).

    Returns:
        Tensor of shape (batch,).
    """
    units = y_pred.shape[-1]
    if units > 1 and (len(y_true.shape) < 2 or y_true.shape[-1] == 1):
        y_true = ops.one_hot(ops.reshape(ops.cast(y_true, "int32"), (-1,)), units)
    y_true = ops.reshape(ops.cast(y_true, y_pred.dtype), (-1, units))
    return ops.sum(ops.square(y_true - y_pred), axis=-1) / 2
