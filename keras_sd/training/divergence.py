"""Stop a run whose loss or weights are not finite, and locate the layer where this began."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_sd.training.checkpoint import capture, restore
from keras_sd.utils.aliases import Tensor
from keras_sd.utils.tensors import of_engine

if TYPE_CHECKING:
    from keras_sd.training.resume import Progress


class Diverged(Exception):
    """The loss of a step, or a weight after it, is NaN or infinite.

    Args:
        step: Integer, counted from 1 over the whole run.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"not finite in step {step}")
        self.step = step


class StopWhereNotFinite(keras.callbacks.Callback):
    """Callback that raises `Diverged` after the first step whose loss is not finite.

    With float16, loss scaling skips steps whose gradients overflow; their loss is finite, so this is not a divergence.
    Reading the loss costs nothing, since callbacks get it on the host.

    Args:
        progress: The run's `Progress`.
    """

    def __init__(self, progress: "Progress") -> None:
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None  # Keras passes them
        if not math.isfinite(logs["loss"]):
            raise Diverged(self.progress.step)


def locate(model: keras.Model, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> tuple[int, str | None]:
    """Repeat training steps until one is not finite, and locate where in the network this begins.

    Args:
        model: A compiled `keras.Model` in a good state; afterwards in its state before the step that was not finite.
        batches: Iterator of training batches, starting with the next one.
        steps: Integer, maximum number of steps to repeat.

    Returns:
        The number of finite steps, and the location as text, `None` if all steps were finite.
    """
    for step, batch in zip(range(steps), batches):
        images, labels = of_engine(batch)
        before = capture(model)
        loss = model.train_on_batch(images, labels, return_dict=True)["loss"]
        broken = [layer for layer in model.layers if not _finite(layer.get_weights())]
        if broken or not math.isfinite(loss):
            restore(model, before)
            where = _first_output(model, images) or _last_gradient(broken) or "the loss, of finite outputs"
            restore(model, before)
            return step, where
    return steps, None


def _first_output(model, images):
    """Return the first layer whose output is not finite, with the same survivors as in the failing step."""
    outputs = keras.Model(model.inputs, [layer.output for layer in model.layers])(images, training=True)
    for layer, output in zip(model.layers, outputs):
        if not _finite([keras.ops.convert_to_numpy(output)]):
            return f"the output of {_named(layer)}"
    return None


def _last_gradient(broken):
    """Return the last layer with broken weights: if outputs are finite, it began there, as gradients flow backwards."""
    return f"the gradient of {_named(broken[-1])}" if broken else None


def _named(layer):
    return f"layer {layer.name} ({type(layer).__name__})"


def _finite(arrays):
    return all(np.isfinite(np.asarray(a, "float32")).all() for a in arrays)
