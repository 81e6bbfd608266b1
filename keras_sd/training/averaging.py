"""Exponential moving average of weights, and recalibration of batch normalization (precise BN)."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_sd.layers.blocks import GatedBlocks
from keras_sd.layers.nesting import Rewired, walk
from keras_sd.layers.pre_activation import PreActivation
from keras_sd.utils.checks import check_type, refusal
from keras_sd.utils.tensors import of_engine

_STATISTICS = ("moving_mean", "moving_variance")
_NORMALIZATIONS = (keras.layers.BatchNormalization, PreActivation)


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[keras.Model]:
    """Replace a model's weights by their averages within a `with` block.

    The average is that of the optimizer (`use_ema=True`) over all steps so far. Statistics of batch normalization are
    not averaged; those from training fit the averaged weights only roughly, see `recalibrate`.

    Args:
        model: A compiled `keras.Model` that was trained with `use_ema=True`.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: The optimizer keeps no average, or has not made a step.
    """
    check_type("model", model, keras.Model, "a Keras model")
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # under loss scaling
    if not getattr(optimizer, "use_ema", False) or not optimizer.built:
        raise refusal("model", "trained with an optimizer that averages its weights (use_ema=True)", model.name)
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


def recalibrate(model: keras.Model, batches: Iterable[Any]) -> int:
    """Set the moving statistics of batch normalization to plain averages over batches of training data.

    Moving statistics come mostly from the last few hundred steps, in which weights changed and different blocks were
    dropped. Here each batch passes through the network as it is tested: final weights, nothing dropped or augmented,
    each branch scaled by its survival probability. The new statistics are the averages over the batches of the mean
    and variance of each normalization's input. Frozen normalizations do not change.

    Args:
        model: A built `keras.Model` of any kind, changed in place.
        batches: Iterable of batches of images, or of tuples that begin with one; normalized as for training.

    Returns:
        The number of batches.

    Raises:
        TypeError: The model is not a Keras model.
        ValueError: There is no batch.

    Reference:
        [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407), section 3.2, for averaged weights.
    """
    check_type("model", model, keras.Model, "a Keras model")
    layers = list(walk(model, into_blocks=True))
    forward = Rewired(model, [(layer, replace) for layer in layers if (replace := _as_tested(layer))], training=True)
    variables = [v for v in model.non_trainable_variables if v.path.endswith(_STATISTICS)]
    sums, count = [np.float64(0)] * len(variables), 0
    with _without_memory(layers):
        for batch in batches:
            forward.predict_on_batch(of_engine(batch[0] if isinstance(batch, tuple | list) else batch))
            # The momentum is 0, so these are the statistics of this batch only.
            sums = [s + keras.ops.convert_to_numpy(v).astype("float64") for s, v in zip(sums, variables)]
            count += 1
    if not count:
        raise refusal("batches", "at least one batch", batches)
    for variable, total in zip(variables, sums):
        variable.assign((total / count).astype("float32"))
    return count


def _as_tested(layer):
    """Return the replacement for the call of a layer that is random in training; `None` for other layers."""
    if isinstance(layer, GatedBlocks) and min(layer.survival_probabilities) < 1:
        return _with(gates=layer.inference_gates())
    if any(walk(layer)) or isinstance(layer, _NORMALIZATIONS):
        return None
    return _in_inference  # dropout, augmentations, and layers that are the same in training


def _with(**gates):
    return lambda call: lambda *args, **kwargs: call(*args, **{**kwargs, **gates})


def _in_inference(call):
    def run(*args, **kwargs):
        return call(*args, **({**kwargs, "training": False} if "training" in kwargs else kwargs))

    return run


@contextlib.contextmanager
def _without_memory(layers):
    """Make normalizations keep only the statistics of the last batch, and disable dropout in dense blocks."""
    changes = [(layer, "momentum") for layer in layers if isinstance(layer, _NORMALIZATIONS)]
    changes += [(layer, "dropout_rate") for layer in layers if isinstance(layer, PreActivation)]
    before = [getattr(layer, name) for layer, name in changes]
    for layer, name in changes:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for (layer, name), value in zip(changes, before):
            setattr(layer, name, value)
