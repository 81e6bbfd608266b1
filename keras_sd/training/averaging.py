"""The exponential moving average of a run's weights, and statistics of batch normalization that fit the weights."""

import contextlib

import keras
import numpy as np

from keras_sd.layers import DenseBlock, StochasticDepthResidual, StochasticDepthStack
from keras_sd.layers.template import parts

_STATISTICS = ("moving_mean", "moving_variance")


@contextlib.contextmanager
def averaged(model):
    """The averages of a model's weights in place of its weights, within a `with` block.

    The average is the optimiser's (`use_ema=True`), over all steps so far; statistics of batch normalization are
    no weights, and stay those of the training, which fit the average roughly: see `recalibrate`.

    Args:
        model: A compiled `keras.Model` that was trained with `use_ema=True`.

    Raises:
        ValueError: where its optimiser keeps no average, or has made no step.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # under loss scaling
    if not getattr(optimizer, "use_ema", False) or not optimizer.built:
        raise ValueError("model has no average of its weights: train it with an optimizer that has use_ema=True")
    pairs = [
        (variable, average)
        for variable, average in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average)
        if average is not None
    ]
    before = [keras.ops.convert_to_numpy(variable) for variable, _ in pairs]
    try:
        for variable, average in pairs:
            # A copy: on JAX two variables with one buffer would both lose it in the next step.
            variable.assign(keras.ops.convert_to_numpy(average))
        yield model
    finally:
        for (variable, _), value in zip(pairs, before):
            variable.assign(value)


def recalibrate(model, batches):
    """Sets the moving statistics of batch normalization to their plain averages over batches of training data.

    Moving statistics are those of networks that lost other blocks in every step, by weights that moved, the last
    few hundred steps foremost. Here each batch passes through the network that is tested: weights as they are,
    nothing dropped, each branch weighed by its survival probability. The statistics become the averages, over
    the batches, of mean and variance of what each normalization receives. Frozen normalizations stay as they are.

    Args:
        model: A functional `keras.Model`, changed in place.
        batches: Iterable of batches of images, or of tuples that begin with one; normalized as for training.

    Returns:
        The number of batches.

    Raises:
        ValueError: where there is no batch.

    Reference:
        [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407), section 3.2, for averaged weights.
    """
    variables = [v for v in model.non_trainable_variables if v.path.endswith(_STATISTICS)]
    sums, count = [np.float64(0)] * len(variables), 0
    with _changed(_every_part(model)):
        forward = _Forward(_expected(model))
        for batch in batches:
            forward.predict_on_batch(batch[0] if isinstance(batch, tuple | list) else batch)
            # The momentum is 0: what is there now is the statistics of this batch alone.
            sums = [s + keras.ops.convert_to_numpy(v).astype("float64") for s, v in zip(sums, variables)]
            count += 1
    if not count:
        raise ValueError("batches is empty; there must be at least one batch")
    for variable, total in zip(variables, sums):
        variable.assign((total / count).astype("float32"))
    return count


class _Forward(keras.Model):
    """A model that runs in training mode when it predicts."""

    def __init__(self, inner):
        super().__init__(name="recalibration")
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs, training=True)


def _expected(model):
    """The same layers, connected so that each branch is weighed as in inference, also in training mode."""

    def call(layer, *args, **kwargs):
        return layer(*args, **{**_gates(layer), **kwargs})

    if isinstance(model, keras.Sequential):  # which `clone_model` does not take together with a `call_function`
        x = inputs = keras.Input(batch_shape=model.input_shape)
        for layer in model.layers:
            x = call(layer, x)
        return keras.Model(inputs, x)
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call, recursive=True)


def _gates(layer):
    """The arguments that make a stochastic layer weigh its branches by their expectation."""
    if isinstance(layer, StochasticDepthResidual) and layer.survival_probability < 1:
        return {"gate": layer.survival_probability if layer.scaling == "inference" else 1.0}
    if isinstance(layer, StochasticDepthStack | DenseBlock):
        probabilities = layer.survival_probabilities
        if probabilities and min(probabilities) < 1:
            return {"gates": probabilities if layer.scaling == "inference" else (1.0,) * len(probabilities)}
    return {}


def _every_part(model):
    """All layers of a model, those inside of stacks included."""
    layers = parts(model)
    stacks = [layer for layer in layers if isinstance(layer, StochasticDepthStack)]
    return layers + [part for stack in stacks for part in parts(stack._template.layer)]


@contextlib.contextmanager
def _changed(layers):
    """Statistics without memory, and no dropout."""
    values = {"momentum": 0.0, "dropout_rate": 0.0}
    changes = [(layer, name) for layer in layers for name in values if hasattr(layer, name)]
    changes += [(layer, "rate") for layer in layers if isinstance(layer, keras.layers.Dropout)]
    before = [getattr(layer, name) for layer, name in changes]
    for layer, name in changes:
        setattr(layer, name, values.get(name, 0.0))
    try:
        yield
    finally:
        for (layer, name), value in zip(changes, before):
            setattr(layer, name, value)
