"""Build, train and run each contestant, inside a worker.

All train by SGD with Nesterov momentum 0.9 and learning rate 0.1, without weight decay, on one batch that is
already in memory; on a GPU, each step copies it there. Each step returns the loss as a number, so that it is finished
when it is timed, on a GPU too: the loss is copied after all operations of the step, because TensorFlow and PyTorch
have put them, with the update of the weights, into the same queue before, and JAX has compiled them into one program.
"""

import dataclasses
import importlib.util
import tempfile

from . import machine
from .task import IMAGENET_NETWORKS, cifar_network

LEARNING_RATE, MOMENTUM = 0.1, 0.9


class Unsupported(Exception):
    """The contestant does not support the task."""


class KerasRunner:
    """A Keras model of a task, run with NumPy batches, `train_on_batch` and `predict_on_batch`."""

    is_on_cpu = False  # whether it computes on the CPU even where there is a GPU

    def __init__(self, task):
        self.task = task
        import keras

        keras.config.set_dtype_policy(task.policy)
        self.keras, self.engine = keras, keras.backend.backend()

    def build(self):
        self.model = self.make_model()
        self.model.compile(
            self.keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM, nesterov=True),
            self.keras.losses.SparseCategoricalCrossentropy(),
            jit_compile="auto" if self.task.jit_compile is None else self.task.jit_compile,
        )
        if self.task.jit_compile and not self.model.jit_compile:  # Keras only warns
            raise Unsupported(f"a layer of {self.task.model} cannot be compiled on {self.engine} (`supports_jit`)")
        # Otherwise Keras creates the optimizer's variables while tracing the first step, and traces it again.
        self.model.optimizer.build(self.model.trainable_variables)
        return self.model.count_params()

    def set_batch(self, batch_size):
        self.images, self.labels = make_batch(batch_size, self.model.input_shape[1:], self.model.output_shape[-1])

    def train_step(self):
        return float(self.model.train_on_batch(self.images, self.labels))

    def prepare_inference(self):
        self.inference_model = self.model

    def infer(self):
        return self.inference_model.predict_on_batch(self.images)

    def versions(self):
        return {"keras": self.keras.__version__, self.engine: _version(self.engine)}


class KerasGraph(KerasRunner):
    """The same network in `keras.layers`, or from `keras.applications`."""

    def __init__(self, task):
        super().__init__(task)
        self.network = cifar_network(task.model)
        if not self.network and not hasattr(self.keras.applications, task.model):
            raise Unsupported(f"no Keras layer graph of {task.model}")

    def make_model(self):
        from . import keras_peers

        if self.network:
            return keras_peers.build(self.network, self.task.image_size)
        factory = getattr(self.keras.applications, self.task.model)
        return factory(weights=None, **_shape_arguments(self.task))


class Ours(KerasRunner):
    """keras_sd's model."""

    def __init__(self, task):
        super().__init__(task)
        from keras_sd import applications

        self.factory = applications.get_model
        if task.model not in applications.list_models():
            self.factory(task.model)  # raises the error that names the nearest models
        given = {name: getattr(task, name) for name in ("gates", "memory_efficient")}
        self.arguments = {name: value for name, value in given.items() if value is not None}
        self.threads = self._set_threads()
        if task.survival_probability < 1.0:
            self.arguments["survival_probability"] = task.survival_probability
        # Not every family has every argument.
        allowed = {field.name for field in dataclasses.fields(applications.MODELS[task.model].spec)}
        if unknown := sorted(set(self.arguments) - allowed):
            raise ValueError(f"{task.model} has no {unknown[0]}; received {self.arguments[unknown[0]]!r}.")

    def _set_threads(self):
        """Set the threads per operation as `keras-sd train` does; return them, or `None` if the engine decides."""
        from keras_sd.runs import networks
        from keras_sd.training import devices

        task = self.task
        if task.threads == 0:
            return None
        return devices.set_threads(task.threads, networks.work(task.model, task.batch_size, task.image_size))

    def make_model(self):
        return self.factory(self.task.model, weights=None, **self.arguments, **_shape_arguments(self.task))

    def prepare_inference(self):
        super().prepare_inference()
        if self.task.fold:
            from keras_sd.models.fold import fold

            self.inference_model = fold(self.model)

    def training_batches(self, batch_size):
        """Return batches from the input pipeline: JPEG files for 224 pixels, else stored images as of CIFAR-10."""
        import numpy as np

        from keras_sd import data

        from . import input_peers

        if self.model.input_shape[1] == input_peers.SIZE:
            self._photographs = tempfile.TemporaryDirectory()  # removed with this runner
            return iter(input_peers.our_batches(self._photographs.name, batch_size))
        images, labels = make_batch(16 * batch_size, self.model.input_shape[1:], classes := self.model.output_shape[-1])
        part = data.Part((images * 50 + 128).clip(0, 255).astype(np.uint8), labels)
        channels = images.shape[-1]
        dataset = data.Dataset(
            "random",
            tuple(map(str, range(classes))),
            *[part] * len(data.PARTS),
            mean=(128.0,) * channels,
            std=(50.0,) * channels,
            augmentation=("shift_flip",),
            shift=4,
        )
        return iter(dataset.training_batches(batch_size))

    def train_on(self, batch):
        if self.engine != "tensorflow":  # `fit` converts the batches of `tf.data`, too
            batch = [part.numpy() for part in batch]
        self.model.train_on_batch(*batch)

    def versions(self):
        threads = {"threads an operation of keras_sd": self.threads} if self.threads else {}
        return {"keras_sd": _version("keras_sd"), **super().versions(), **threads}


class OursConstant(Ours):
    """keras_sd's model at constant depth."""

    def __init__(self, task):
        super().__init__(dataclasses.replace(task, survival_probability=1.0))


class OursOnEngine(Ours):
    """keras_sd's model on the engine that the harness has selected for this process."""

    def __init__(self, task):
        # On JAX steps are always compiled, on PyTorch never: the task says it of TensorFlow.
        super().__init__(dataclasses.replace(task, jit_compile=None))


class OnnxRuntime(Ours):
    """keras_sd's model, folded and exported to onnxruntime, for inference only."""

    is_on_cpu = True

    def __init__(self, task):
        super().__init__(dataclasses.replace(task, threads=0))
        if importlib.util.find_spec("tf2onnx") is None:
            raise Unsupported("exporting to onnxruntime needs tf2onnx: pip install tf2onnx")

    def prepare_inference(self):
        from keras_sd.models.runtimes import OnnxModel

        with tempfile.TemporaryDirectory() as folder:
            self.inference_model = OnnxModel(self.model, folder)

    def infer(self):
        return self.inference_model.predict(self.images)

    def versions(self):
        return {**super().versions(), "onnxruntime": _version("onnxruntime")}


class Torch:
    """PyTorch, eager, channels_last, on the GPU if there is one, else with one thread per core."""

    engine = "torch"
    is_on_cpu = False

    def __init__(self, task):
        self.task, self.network = task, cifar_network(task.model) or IMAGENET_NETWORKS.get(task.model)
        if not self.network:
            raise Unsupported(f"no PyTorch baseline of {task.model}")
        if task.survival_probability < 1 and task.model in IMAGENET_NETWORKS:
            raise Unsupported(f"no PyTorch baseline of {task.model} with stochastic depth")
        import torch

        self.torch = torch
        self.device = "cuda" if machine.has_gpu("torch") else "cpu"
        if task.policy == "mixed_float16" and self.device == "cpu":
            raise Unsupported("PyTorch has no float16 training on CPU: use mixed_bfloat16")
        torch.set_num_threads(machine.cores())
        if self.device == "cuda":  # as TensorFlow by default: TF32, and the convolutions that are measured fastest
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True

    def build(self):
        from . import torch_peers

        model = torch_peers.build(self.network, self.task.survival_probability)
        self.model = model.to(self.device, memory_format=self.torch.channels_last)
        self.optimizer = self.torch.optim.SGD(self.model.parameters(), LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
        # Keras scales the loss in float16, too.
        self.scaler = self.torch.amp.GradScaler(self.device, enabled=self.task.policy == "mixed_float16")
        # As Keras counts: weights and moving statistics, without num_batches_tracked.
        state = self.model.state_dict()
        return sum(value.numel() for name, value in state.items() if not name.endswith("num_batches_tracked"))

    def set_batch(self, batch_size):
        size = self.task.image_size or self.network.image_size
        images, labels = make_batch(batch_size, (size, size, 3), self.network.classes)
        images = self.torch.from_numpy(images).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=self.torch.channels_last)
        self.labels = self.torch.from_numpy(labels)

    def _autocast(self):
        dtype = {"mixed_bfloat16": self.torch.bfloat16, "mixed_float16": self.torch.float16}.get(self.task.policy)
        return self.torch.autocast(self.device, dtype, enabled=dtype is not None)

    def train_step(self):
        self.optimizer.zero_grad()
        with self._autocast():
            outputs = self.model(self.images.to(self.device))
            loss = self.torch.nn.functional.cross_entropy(outputs, self.labels.to(self.device))
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def prepare_inference(self):
        self.model.eval()

    def infer(self):
        with self.torch.inference_mode(), self._autocast():
            return self.model(self.images.to(self.device)).float().softmax(1).cpu().numpy()

    def versions(self):
        return {"torch": self.torch.__version__}


class TorchCompiled(Torch):
    """The same network, compiled by `torch.compile`."""

    def build(self):
        from . import torch_peers

        parameters = super().build()
        torch_peers.compile_network(self.model)
        return parameters


def make_batch(batch_size, shape, classes):
    """Return random images and labels, the same for all contestants."""
    import numpy as np

    generator = np.random.default_rng(0)
    images = generator.normal(size=(batch_size, *shape)).astype("float32")
    return images, generator.integers(classes, size=batch_size)


def _shape_arguments(task):
    size = task.image_size
    return {"input_shape": (size, size, 3)} if size else {}


def _version(package):
    import importlib.metadata

    return importlib.metadata.version(package)


RUNNERS = {
    "ours": Ours,
    "ours-constant": OursConstant,
    "ours-jax": OursOnEngine,
    "ours-torch": OursOnEngine,
    "keras": KerasGraph,
    "torch": Torch,
    "torch-compiled": TorchCompiled,
    "onnxruntime": OnnxRuntime,
}
