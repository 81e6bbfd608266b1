"""The paths of a residual network: their number by length, and the gradients along them."""

import functools
import math
from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from keras_sd.analysis.gradients import loss
from keras_sd.analysis.sub_networks import blocks, by_layer
from keras_sd.backend import gradients
from keras_sd.layers.nesting import Rewired
from keras_sd.utils.checks import check_integer, refusal


def path_lengths(depth: int) -> np.ndarray:
    """Return the fraction of the 2^L paths with k of L branches, for k = 0 ... L: the binomial distribution."""
    check_integer("depth", depth, 0)
    return np.array([math.comb(depth, k) / 2**depth for k in range(depth + 1)])


def survivors(survival_probabilities: Iterable[float]) -> np.ndarray:
    """Return the probability that k blocks survive a training step, for k = 0 ... L.

    k is the length of the longest path in that step. With equal probabilities the distribution is binomial.
    """
    distribution = np.ones(1)
    for p in survival_probabilities:
        distribution = np.convolve(distribution, [1 - p, p])
    return distribution


class PathGradients:
    """Gradients at a residual network's input along single paths.

    In each block a path takes either the branch or the shortcut. The forward pass is that of the whole network in
    inference; in the backward pass each block propagates one of its two gradients. The gradients of all 2^L paths add
    up to the full gradient.

    Args:
        model: A classifier with residual blocks (also inside nested models) and probabilities as outputs.

    Raises:
        ValueError: The model has no residual blocks, or also blocks of another kind.

    Reference:
        [Veit et al., 2016](https://arxiv.org/abs/1605.06431), section 4.2
    """

    def __init__(self, model: keras.Model):
        self.blocks = blocks(model)
        kinds = sorted({block.kind for block in self.blocks})
        if kinds != ["residual"]:
            raise refusal("model", f"a model of residual blocks alone, not of {kinds}", model.name)
        zeros = np.zeros(len(self.blocks), "float32")
        self._path = keras.Variable(zeros, dtype="float32", trainable=False, autocast=False, name="path")
        rewired, start = [], 0
        for layer, group in by_layer(self.blocks):
            branches = [layer.block_branch(block.row) for block in group]
            rewired.append((layer, functools.partial(_along, group, branches, self._path, start)))
            start += len(group)
        network = Rewired(model, rewired)
        self._gradients = gradients(lambda x, y: loss(network(x), y))

    def __call__(self, x, y, path):
        """Return the gradient of the mean loss with respect to the input, along one path.

        Args:
            x: Array of examples.
            y: Array of class numbers.
            path: One number for each block: 1 for its branch, 0 for its shortcut.

        Returns:
            Array of the shape of `x`.
        """
        path = np.asarray(path, "float32")
        if path.shape != (len(self.blocks),):
            raise refusal("path", f"{len(self.blocks)} numbers, one for each block", path)
        self._path.assign(path)
        return ops.convert_to_numpy(self._gradients(np.asarray(x, "float32"), np.asarray(y))[1])

    def by_length(self, x: np.ndarray, y: np.ndarray, lengths: Sequence[int], draws: int, seed: int = 0) -> np.ndarray:
        """Return norms of the gradient along random paths of each length.

        Returns:
            Array of shape (lengths, draws).
        """
        random = np.random.default_rng(seed)
        norms = np.zeros((len(lengths), draws))
        for row, length in zip(norms, lengths):
            for i in range(draws):
                path = np.zeros(len(self.blocks))
                path[random.choice(len(path), length, replace=False)] = 1
                row[i] = np.linalg.norm(self(x, y, path))
        return norms


def _along(blocks, branches, way, start, call):
    """Return the call of a layer whose residual blocks propagate gradients along the path in a variable."""

    def run(x, **ignored):
        for index, (block, branch) in enumerate(zip(blocks, branches), start):
            through = ops.convert_to_tensor(way)[index]
            shortcut = block.layer.shortcut
            dtype = block.layer.compute_dtype  # the block casts both summands to it
            y = _passing(ops.cast(branch(x), dtype) * ops.cast(block.gate, dtype), through)
            kept = ops.cast(x if shortcut is None else shortcut(x), dtype)
            x = block.layer.activation(_passing(kept, 1 - through) + y)
        return x

    return run


def _passing(x, fraction):
    """Return `x` with its gradient scaled by a fraction."""
    fraction = ops.cast(fraction, x.dtype)
    return fraction * x + (1 - fraction) * ops.stop_gradient(x)
