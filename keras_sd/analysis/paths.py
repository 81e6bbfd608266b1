"""The paths of a residual network: how many there are of each length, and what gradient comes along them."""

import math

import keras
import numpy as np
from keras import ops

from keras_sd.analysis.blocks import _call, blocks
from keras_sd.analysis.gradients import loss
from keras_sd.backend import gradients
from keras_sd.layers import StochasticDepthStack
from keras_sd.layers.template import build_by_call


def path_lengths(depth):
    """Share of the 2^L paths that go through k of L branches, for k = 0 ... L: the binomial distribution."""
    return np.array([math.comb(depth, k) / 2**depth for k in range(depth + 1)])


def survivors(survival_probabilities):
    """Probability that k blocks survive a training step, for k = 0 ... L.

    The longest path of the step's network has that length. With equal probabilities it is binomial.
    """
    distribution = np.ones(1)
    for p in survival_probabilities:
        distribution = np.convolve(distribution, [1 - p, p])
    return distribution


class PathGradients:
    """The gradient at a residual network's input that comes back along single paths.

    A path goes, in each block, either through the branch or through the shortcut. The forward pass is that of the
    whole network in inference; on the way back each block passes on one of its two gradients. The gradients of all
    2^L paths add up to the gradient.

    Args:
        model: A functional classifier with residual blocks and probabilities as outputs.

    Raises:
        ValueError: The model has no residual blocks, or blocks of another kind.

    Reference:
        [Veit et al., 2016](https://arxiv.org/abs/1605.06431), section 4.2
    """

    def __init__(self, model):
        self.blocks = blocks(model)
        kinds = sorted({block.kind for block in self.blocks})
        if kinds != ["residual"]:
            raise ValueError(f"`model` must have residual blocks, and no others. Received blocks of kinds {kinds}")
        first = {}
        for index, block in enumerate(self.blocks):
            first.setdefault(id(block.layer), index)

        def call(layer, *args, **kwargs):
            if id(layer) not in first:
                return _call(layer, *args, **kwargs)
            x, start = args[0], first[id(layer)]
            count = layer.depth if isinstance(layer, StochasticDepthStack) else 1
            for block in self.blocks[start : start + count]:
                x = _Path(block, self._path, start + block.row)(x)
            return x

        zeros = np.zeros(len(self.blocks), "float32")
        self._path = keras.Variable(zeros, dtype="float32", trainable=False, autocast=False, name="path")
        network = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
        self._gradients = gradients(lambda x, y: loss(network(x), y))

    def __call__(self, x, y, path):
        """The gradient of the mean loss by the input, along one path.

        Args:
            x: Array of examples.
            y: Array of class numbers.
            path: A number for each block: 1 through its branch, 0 through its shortcut.

        Returns:
            Array of the shape of `x`.
        """
        path = np.asarray(path, "float32")
        if path.shape != (len(self.blocks),):
            raise ValueError(f"`path` must have shape ({len(self.blocks)},). Received shape {path.shape}")
        self._path.assign(path)
        return ops.convert_to_numpy(self._gradients(np.asarray(x, "float32"), np.asarray(y))[1])

    def by_length(self, x, y, lengths, draws, seed=0):
        """Norms of the gradient along paths drawn at random among those of one length.

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


class _Path(keras.layers.Layer):
    """One residual block whose gradient takes the way that a variable says."""

    def __init__(self, block, way, index):
        super().__init__(name=f"{block.name}_path", dtype=block.layer.dtype_policy)
        self.layer, self.gate, self.way, self.index = block.layer, block.gate, way, index
        self.branch, self.shortcut = _branch(block), getattr(block.layer, "shortcut", None)

    def call(self, x):
        through = ops.convert_to_tensor(self.way)[self.index]
        branch = ops.cast(self.branch(x), self.compute_dtype)
        branch = _passing(branch * ops.cast(self.gate, branch.dtype), through)
        shortcut = x if self.shortcut is None else ops.cast(self.shortcut(x), self.compute_dtype)
        shortcut = _passing(shortcut, 1 - through)
        return self.layer.activation(shortcut + branch)


def _passing(x, share):
    """`x`, and on the way back `share` of its gradient."""
    share = ops.cast(share, x.dtype)
    return share * x + (1 - share) * ops.stop_gradient(x)


def _branch(block):
    """The branch of a block as a layer of its own, with the block's weights."""
    if not isinstance(block.layer, StochasticDepthStack):
        return block.layer.branch
    branch = block.layer.branch
    build_by_call(branch, block.layer.input.shape)
    weights = block.get_weights()
    for variable in branch.weights:
        variable.assign(weights["/".join(variable.path.split("/")[-2:])])
    return branch
