"""Optimizers of the recipes: stochastic gradient descent as in the papers, and LAMB."""

from typing import Any

import keras
from keras import ops

from keras_sd.utils.aliases import Tensor
from keras_sd.utils.checks import check_flag, check_number, check_type

_NORM_AND_BIAS = ("gamma", "beta", "bias")


def norm_and_bias_variables(model: keras.Model | keras.Layer) -> list[keras.Variable]:
    """Return the variables usually excluded from weight decay: scales and offsets of normalization, and biases.

    They are found by name, since the number of axes does not identify them: `StochasticDepthStack` has the scales of
    all its blocks in one matrix. Use it with a Keras optimizer before that is built:

        optimizer.exclude_from_weight_decay(var_list=norm_and_bias_variables(model))

    The optimizers of the recipes exclude the same variables if `decay_norm_and_bias` is false.

    Args:
        model: A built Keras model or layer.

    Returns:
        List of Keras variables.
    """
    check_type("model", model, keras.layers.Layer, "a Keras model or layer")
    return [variable for variable in model.trainable_variables if _is_norm_or_bias(variable)]


def _is_norm_or_bias(variable):
    return variable.name.endswith(_NORM_AND_BIAS)


class _Common:
    """What both optimizers share: their own weight decay, averages that do not replace the weights, frozen variables.

    Variables may be frozen after the optimizer was built, as in the epochs that train only the classifier.
    """

    def _set_decay(self, l2, decay_norm_and_bias):
        self.l2 = check_number("l2", l2, "a number of at least 0", lambda v: v >= 0)
        self.decay_norm_and_bias = check_flag("decay_norm_and_bias", decay_norm_and_bias)

    def _decays(self, variable):
        variable = self._trainable_variables[self._get_variable_index(variable)]
        return bool(self.l2) and (self.decay_norm_and_bias or not _is_norm_or_bias(variable))

    def build(self, variables):
        super().build(variables)
        for variable, average in self._averages():
            # While a variable is frozen, this is the average of its values. A copy: JAX donates each buffer once.
            average.assign(ops.copy(variable))

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """Update the variables that are not frozen; Keras's method, used on JAX, needs gradients of all of them."""
        trainable = [v for v in self._trainable_variables if v.trainable]
        if len(trainable) == len(self._trainable_variables):
            return super().stateless_apply(optimizer_variables, grads, trainable_variables)
        values = [*zip(trainable, trainable_variables, strict=True)]
        values += zip(self.variables, optimizer_variables, strict=True)
        # Frozen variables have no value here. The averages read one, and that of a frozen variable is its average.
        of_averages = {id(variable): value for variable, value in values}
        values += [(v, of_averages[id(average)]) for v, average in self._averages() if not v.trainable]
        with keras.StatelessScope(state_mapping=values) as scope:
            self.apply(grads, trainable)
        return tuple([scope.get_current_value(v) for v in variables] for variables in (trainable, self.variables))

    def _averages(self):
        if not self.use_ema:
            return []
        pairs = zip(self._trainable_variables, self._model_variables_moving_average)
        return [(variable, average) for variable, average in pairs if average is not None]

    def finalize_variable_values(self, var_list):
        """Do nothing; Keras would replace the weights by their averages when training ends."""

    def get_config(self):
        return {**super().get_config(), "l2": self.l2, "decay_norm_and_bias": self.decay_norm_and_bias}


@keras.saving.register_keras_serializable(package="keras_sd")
class SGD(_Common, keras.optimizers.SGD):
    """Nesterov momentum with weight decay as an L2 penalty's gradient.

    The gradient used by the momentum is `g + l2 * w` for every trainable variable, including biases, normalization
    and the blocks that a step dropped: the papers make no exceptions. Keras's `weight_decay` is different: it shrinks
    weights separately from the gradient and the momentum. The penalty is not part of the reported loss. Clipping and
    loss scaling apply only to `g`.

    With `use_ema` the average stays in the optimizer when training ends; see `keras_sd.training.averaged`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Float in [0, 1].
        nesterov: Boolean.
        l2: Float, at least 0: weight decay.
        decay_norm_and_bias: Boolean, whether scales and offsets of normalizations, and biases, decay, too.
        **kwargs: As in `keras.optimizers.SGD`.

    Raises:
        ValueError: where `l2` is not a number of at least 0.

    Reference:
        He et al. 2016, section 4.2; Huang et al. 2016, section 4; Huang et al. 2017, section 4.2.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        l2: float = 1e-4,
        decay_norm_and_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self._set_decay(l2, decay_norm_and_bias)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        if self._decays(variable):
            # A stack's gradient covers only its survivors (IndexedSlices); the sum is dense, so that all blocks decay.
            decay = ops.multiply(variable, ops.cast(self.l2, variable.dtype))
            gradient = ops.add(ops.cast(gradient, variable.dtype), decay)
        super().update_step(gradient, variable, learning_rate)


@keras.saving.register_keras_serializable(package="keras_sd")
class LAMB(_Common, keras.optimizers.Lamb):
    """LAMB with weight decay inside the step before its length is adapted.

    The step is `update = m / (sqrt(v) + epsilon) + l2 * w`, scaled by `|w| / |update|`. Keras's LAMB has no `l2`
    there: its `weight_decay` is applied separately from the step and its scale. Variables that do not decay get Adam's
    step, unscaled, as in the implementations for which the recipes were made. The norms are those of whole
    variables; for separate norms of each block use a network with `stacked=False`.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        l2: Float, at least 0: weight decay.
        decay_norm_and_bias: Boolean, whether scales and offsets of normalizations, and biases, decay, too.
        **kwargs: As in `keras.optimizers.Lamb`.

    Raises:
        ValueError: where `l2` is not a number of at least 0.

    Reference:
        [You et al., 2020](https://arxiv.org/abs/1904.00962), algorithm 2.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        l2: float = 0.0,
        decay_norm_and_bias: bool = False,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, **kwargs)
        self._set_decay(l2, decay_norm_and_bias)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        dtype = variable.dtype
        gradient = ops.add(ops.cast(gradient, dtype), ops.zeros((), dtype))  # dense, see `SGD`
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        self.assign(first, first + (gradient - first) * (1 - self.beta_1))
        self.assign(second, second + (ops.square(gradient) - second) * (1 - self.beta_2))
        step = ops.cast(self.iterations + 1, dtype)
        unbiased = [
            ops.cast(x, dtype) / (1 - ops.power(ops.cast(beta, dtype), step))
            for x, beta in ((first, self.beta_1), (second, self.beta_2))
        ]
        update = unbiased[0] / (ops.sqrt(unbiased[1]) + self.epsilon)
        if self._decays(variable):
            update = update + self.l2 * variable
            lengths = ops.sqrt(ops.sum(ops.square(variable))), ops.sqrt(ops.sum(ops.square(update)))
            positive = ops.logical_and(lengths[0] > 0, lengths[1] > 0)
            update = update * ops.where(positive, lengths[0] / ops.where(positive, lengths[1], 1.0), 1.0)
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * update)
