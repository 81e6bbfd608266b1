"""The cost of a configuration, computed before anything is trained, and its limits."""

import dataclasses
import functools
import json
import math

import keras

from keras_sd.analysis.cost import flops
from keras_sd.layers.nesting import count_parameters
from keras_sd.runs.networks import make
from keras_sd.training.config import TrainConfig
from keras_sd.utils.aliases import Shape
from keras_sd.utils.checks import refusal


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits on the cost of a network.

    Args:
        max_parameters: Integer, trainable parameters; `None` for no limit.
        max_flops: Number, floating-point operations of one image's forward pass with all blocks; `None` for no limit.

    Raises:
        ValueError: If a limit is not above 0.
    """

    max_parameters: float | None = None
    max_flops: float | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise refusal(name, "None or a number above 0", value)

    def excess(self, config: TrainConfig, input_shape: Shape, classes: int) -> str | None:
        """Return a text on how a `TrainConfig`'s network exceeds the budget; `None` if it does not."""
        if self.max_parameters is None and self.max_flops is None:
            return None
        limits = (self.max_parameters, self.max_flops)
        for name, limit, cost in zip(_NAMES, limits, measure(config, input_shape, classes)):
            if limit is not None and cost > limit:
                return f"max_{name} is {limit:,.0f}, and the network has {cost:,} {name}"
        return None


_NAMES = ("parameters", "flops")


def measure(config: TrainConfig, input_shape: Shape, classes: int) -> tuple[int, int]:
    """Return the trainable parameters of a `TrainConfig`'s network, and the FLOPs of its forward pass of one image."""
    return _measure(config.model, json.dumps(config.model_arguments, sort_keys=True), tuple(input_shape), classes)


@functools.lru_cache(4096)
def _measure(model, arguments, input_shape, classes):
    # Survival and the other settings do not change the cost of all blocks.
    config = TrainConfig(model, "any", 1, 1, 1.0, survival_probability=1.0, model_arguments=json.loads(arguments))
    # Variables without values: shapes are enough, and a network too large for memory can be rejected.
    with keras.StatelessScope(initialize_variables=False):
        network = make(config, input_shape, classes)
        return count_parameters(network), flops(network)
