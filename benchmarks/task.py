"""The task of a measurement: a frozen description that is sent to the workers as JSON."""

import dataclasses
import re

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
MEASUREMENTS = ("step", "first", "memory", "inference", "input", "photographs", "import")
# Each contestant, and the package that a user imports for it.
CONTESTANTS = {
    "ours": "keras_sd",
    "ours-constant": "keras_sd",
    "ours-jax": "keras_sd",
    "ours-torch": "keras_sd",
    "keras": "keras",
    "torch": "torch",
    "torch-compiled": "torch",
    "onnxruntime": "onnxruntime",
}
ENGINES = {"ours-jax": "jax", "ours-torch": "torch"}  # of Keras; KERAS_BACKEND selects that of the others
INFERENCE_ONLY = ("onnxruntime",)  # keras_sd's model, folded and exported
# The depths of He et al. 2016, table 1 (ImageNet); every other depth 6n+2 is a CIFAR network (section 4.2).
IMAGENET_RESNETS = (18, 34, 50, 101, 152)


@dataclasses.dataclass(frozen=True)
class Task:
    """One network and how it is run.

    Args:
        model: name of the model, as `keras_sd.applications.list_models()` gives it.
        batch_size: examples in a training step.
        survival_probability: of the last block; 1.0 is constant depth, the only option of the Keras layer graph.
        policy: dtype policy; PyTorch runs `mixed_*` under autocast.
        gates: gates of keras_sd's stacks; `None` for the model's default.
        memory_efficient: recomputation in keras_sd's dense blocks and stacks; `None` for the model's default.
        fold: whether keras_sd's model is folded before inference.
        image_size: height and width of the images in pixels; `None` is the model's default.
        inference_batch_sizes: batch sizes of the inference measurements.
        threads: CPU threads per operation of keras_sd's model; `None` for the choice of `keras-sd train`, 0 for the
            engine's.
        jit_compile: whether Keras compiles the training step (TensorFlow: by XLA); `None` for its default.

    Raises:
        ValueError: A number or a policy is not allowed.
    """

    model: str
    batch_size: int = 64
    survival_probability: float = 1.0
    policy: str = "float32"
    gates: str | None = None
    memory_efficient: bool | None = None
    fold: bool = False
    image_size: int | None = None
    inference_batch_sizes: tuple[int, ...] = (1, 64)
    threads: int | None = None
    jit_compile: bool | None = None

    def __post_init__(self):
        object.__setattr__(self, "inference_batch_sizes", tuple(self.inference_batch_sizes))
        _require(0.0 < self.survival_probability <= 1.0, self, "survival_probability", "a number in (0, 1]")
        _require(self.policy in POLICIES, self, "policy", f"one of {', '.join(POLICIES)}")
        _require(self.batch_size >= 1, self, "batch_size", "at least 1")
        _require(self.image_size is None or self.image_size >= 1, self, "image_size", "at least 1 pixel")
        _require(self.threads is None or self.threads >= 0, self, "threads", "at least 0")
        sizes = self.inference_batch_sizes
        _require(sizes and min(sizes) >= 1, self, "inference_batch_sizes", "one or more numbers of at least 1")


def _require(condition, task, argument, allowed):
    if not condition:
        raise ValueError(f"{argument} must be {allowed}; received {getattr(task, argument)!r}.")


@dataclasses.dataclass(frozen=True)
class CifarNetwork:
    """A CIFAR network of the two papers: everything that the baselines need to build it."""

    family: str  # "resnet" or "densenet"
    depth: int
    growth_rate: int = 0
    bottleneck: bool = False
    classes: int = 10
    image_size: int = 32

    @property
    def stages(self):
        """Blocks of each stage."""
        return (self.blocks,) * 3

    @property
    def blocks(self):
        """Blocks (dense layers) in each of the three stages."""
        per_block = 2 if self.family == "resnet" or self.bottleneck else 1
        return (self.depth - (2 if self.family == "resnet" else 4)) // (3 * per_block)

    @property
    def compression(self):
        """DenseNet-BC halves the channels in its transitions (Huang et al. 2017, section 3)."""
        return 0.5 if self.bottleneck else 1.0


@dataclasses.dataclass(frozen=True)
class ImageNetNetwork:
    """An ImageNet network of the two papers, of bottleneck blocks, as a `CifarNetwork`."""

    family: str
    stages: tuple[int, ...]
    growth_rate: int = 0
    bottleneck: bool = True
    compression: float = 0.5
    classes: int = 1000
    image_size: int = 224


# He et al. 2016, table 1; Huang et al. 2017, table 1. Those that PyTorch has a baseline of.
IMAGENET_NETWORKS = {
    "ResNet50": ImageNetNetwork("resnet", (3, 4, 6, 3)),
    "DenseNet121": ImageNetNetwork("densenet", (6, 12, 24, 16), growth_rate=32),
}


def cifar_network(name):
    """Return the CIFAR network of a model's name, or `None` if it is not a CIFAR ResNet or DenseNet."""
    if match := re.fullmatch(r"ResNet(\d+)", name):
        depth = int(match[1])
        return CifarNetwork("resnet", depth) if depth % 6 == 2 and depth not in IMAGENET_RESNETS else None
    if match := re.fullmatch(r"DenseNet(BC)?(\d+)(?:_?k(\d+))?", name):
        bottleneck, depth = bool(match[1]), int(match[2])
        if (depth - 4) % (6 if bottleneck else 3) or (not bottleneck and depth > 100):
            return None
        # Huang et al. 2017, table 2: growth rates of the two large networks; 12 for the others.
        growth_rate = int(match[3] or {250: 24, 190: 40}.get(depth, 12))
        return CifarNetwork("densenet", depth, growth_rate, bottleneck)
    return None


def survival_probabilities(blocks, last):
    """Return the linear schedule p_l = 1 - (l / L)(1 - p_L) (Huang et al. 2016, eq. 4), for the baselines."""
    return [1.0 - index / blocks * (1.0 - last) for index in range(1, blocks + 1)]
