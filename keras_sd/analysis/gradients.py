"""Forward signals and backward gradients by depth in a network."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sd.analysis.ensemble import draw_gates
from keras_sd.analysis.sub_networks import Block, SubNetworks, blocks, by_layer
from keras_sd.backend import gradients
from keras_sd.layers.nesting import Rewired
from keras_sd.utils.aliases import Tensor


class GradientProbe:
    """Mean absolute gradient of the loss with respect to the kernels of each block, on one batch.

    The network runs in training mode, with statistics of the batch, but its moving statistics and seeds do not change.
    It is traced once, so that a probe can be read repeatedly during training.

    With stochastic depth the result is the mean over several fixed draws of the gates.

    Args:
        model: A classifier with probabilities as outputs and blocks (see `blocks`).
        x: Array of examples.
        y: Array of class numbers.
        draws: Number of draws of the gates, if blocks can be dropped.

    Reference:
        Mean absolute gradients by layer: [Huang et al., 2016](https://arxiv.org/abs/1603.09382), figure 8
    """

    def __init__(self, model: keras.Model, x: np.ndarray, y: np.ndarray, draws: int = 8):
        self.blocks = blocks(model)
        self._x, self._y = np.asarray(x, "float32"), np.asarray(y)
        self._networks: SubNetworks | None = None
        self._draws: Any = [None]
        survival = [block.survival_probability for block in self.blocks]
        if min(survival) < 1:
            self._networks = SubNetworks(model)
            model = self._networks.model
            self._draws = draw_gates(survival, draws) * [block.survivor_gate for block in self.blocks]
        kernels = {id(w): w for block in self.blocks for w, _ in block.kernels()}
        self._places = {key: place for place, key in enumerate(kernels)}
        self._gradients = gradients(lambda x, y: loss(model(x, training=True), y), kernels.values())

    def read(self) -> np.ndarray:
        """Return an array with one number for each block."""
        return np.mean([self._read(gates) for gates in self._draws], axis=0)

    def _read(self, gates):
        if gates is not None:
            self._networks.gates = gates
        found = [ops.convert_to_numpy(g) for g in self._gradients(self._x, self._y)[2]]
        return np.array([self._mean(found, block) for block in self.blocks])

    def _mean(self, found, block):
        parts = [(found[self._places[id(w)]], row) for w, row in block.kernels()]
        parts = [np.abs(g if row is None else g[row]) for g, row in parts]
        return sum(p.sum() for p in parts) / sum(p.size for p in parts)


def loss(probabilities: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of class probabilities for class numbers."""
    return ops.mean(keras.losses.sparse_categorical_crossentropy(y, probabilities))


class GradientHistory(keras.callbacks.Callback):
    """Callback that reads a `GradientProbe` before training and after each epoch.

    Args:
        x, y: The batch of the probe.
        record: Function of the epoch (0 before training) and the list of pairs of a block's name and its mean
            absolute gradient.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, record: Callable):
        super().__init__()
        self._batch, self._record, self._probe = (x, y), record, None

    def _read(self, epoch):
        if self._probe is None:
            self._probe = GradientProbe(self.model, *self._batch)
        values = self._probe.read().tolist()
        self._record(epoch, list(zip([b.name for b in self._probe.blocks], values)))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 0:
            self._read(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._read(epoch + 1)


def signals(model: keras.Model, x: np.ndarray) -> list[tuple[Block, np.ndarray]]:
    """Return the features after each block in training mode, with all blocks open.

    Args:
        model: A model with blocks.
        x: Array of examples.

    Returns:
        List of pairs of a `Block` and an array of features; after a dense layer these are the concatenation of the
        block's input and of its layers so far.

    Raises:
        TypeError: The model is not a Keras model.
    """
    found = []

    def recording(layer, group, call):
        def run(inputs, training=False, **ignored):
            gates = np.array([block.survivor_gate for block in group], "float32")
            outputs = layer.block_outputs(functools.partial(call, training=True), inputs, gates)
            found.extend(zip(group, map(ops.convert_to_numpy, outputs), strict=True))
            return ops.convert_to_tensor(found[-1][1])

        return run

    replacements = [(layer, functools.partial(recording, layer, group)) for layer, group in by_layer(blocks(model))]
    with keras.StatelessScope():  # discards changes of moving statistics
        Rewired(model, replacements)(ops.convert_to_tensor(x), training=True)
    return found


def root_mean_square(features: np.ndarray) -> float:
    """Return the root mean square of a signal."""
    return float(np.sqrt(np.mean(np.square(features, dtype="float64"))))


def similarity(features: np.ndarray) -> float:
    """Return the mean cosine similarity between the features of different examples; 1 if they do not differ.

    Args:
        features: Array with examples on the first axis and their features on all others.
    """
    rows = np.reshape(features, (len(features), -1)).astype("float64")
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    n = len(rows)
    return float((np.square(rows.sum(axis=0)).sum() - n) / (n * (n - 1)))
