"""Models as files for other runtimes: ONNX, LiteRT, SavedModel."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_sd._version import __version__
from keras_sd.backend.tensorflow_beside import leave_gpus_to_the_engine
from keras_sd.layers.template import parts
from keras_sd.models.fold import check_graph, finalize, fold
from keras_sd.utils.checks import check_choice, check_flag, refusal
from keras_sd.utils.files import replacing

_TOLERANCE = 1e-4  # of outputs, relative to the largest where that is above 1
_HALF = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def export_model(model: keras.Model, path: str | os.PathLike, format: str, folded: bool = False) -> Path:
    """Write a model in float32 as a file for another runtime, and check the file by running it there.

    Layers under a policy of mixed or half precision are exported as float32: `Model.export` would write their
    half-precision operations, which onnxruntime and LiteRT do not run on a CPU.

    Args:
        model: Functional or sequential Keras model with one input and one output. It is not changed.
        path: Path to write, new: of a file that ends in `.onnx` or `.tflite`, or of a folder for a SavedModel.
        format: `"onnx"` (needs tf2onnx and onnxruntime), `"litert"` (needs ai-edge-litert) or `"savedmodel"`.
        folded: Whether to export `keras_sd.fold(model)`, which has fewer operations.

    Returns:
        The path.

    Raises:
        ValueError: An argument or an engine outside of what is allowed, or a file that computes something
            else than the model, in batches of 1 and 3 (or of the model's fixed batch size). Nothing is left then.
        TypeError: `model` is not a functional or sequential model.
        FileExistsError: Something is there already.
        ImportError: A library that the format needs is not installed.
    """
    path = Path(path)
    check_graph(model)
    _check_engine(keras.backend.backend(), format)
    keras_format, suffix, _, run = _FORMATS[check_choice("format", format, _FORMATS)]
    check_flag("folded", folded)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise refusal("model", "a model with one input and one output", model)
    if suffix and path.suffix != suffix:
        raise refusal("path", f"a path that ends in {suffix} for format={format!r}", str(path))
    if path.exists() or path.is_symlink():
        raise refusal("path", "a new path: what exists is never overwritten", str(path), FileExistsError)
    check_libraries(format)
    twin = in_float32(model)
    twin = fold(twin) if folded else twin
    twin(np.zeros(_shape(twin, 1), twin.inputs[0].dtype))  # Keras exports ONNX of models that were called once
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as written:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converters, about themselves
            twin.export(written, format=keras_format, verbose=False)
        _check(twin, written, run)
    return path


class OnnxModel:
    """A model that onnxruntime runs on the CPU, folded; it predicts as the Keras model does, within 1e-4.

    Args:
        model: As in `export_model`.
        folder: Path of a folder for the exported file, whose name tells networks and weights apart: a model is exported
            once.

    Raises:
        ValueError, TypeError, ImportError: As `export_model`.
    """

    def __init__(self, model: keras.Model, folder: str | os.PathLike) -> None:
        check_libraries("onnx")
        path = Path(folder) / f"{_digest(model)}.onnx"
        if not path.is_file():
            with contextlib.suppress(FileExistsError):  # another process was faster
                export_model(model, path, "onnx", folded=True)
        self._run = _onnx_session(str(path))

    def predict(self, images: np.ndarray, verbose: int = 0) -> np.ndarray:
        """Return the outputs of a batch, as `predict` of a Keras model; nothing is printed, whatever `verbose`."""
        return self._run(images)


def _digest(model):
    """Return a name for a network with its weights, and for the versions that export it."""
    # Keras counts the inputs of all models that a process makes.
    config = re.sub(r'"input_layer_\d+"', '"input_layer"', json.dumps(model.get_config(), default=str))
    digest = hashlib.sha256(f"{__version__} {keras.__version__} {config}".encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:32]


def check_libraries(format: str) -> None:
    """Raise an `ImportError` with the line that installs them where libraries of a format are missing."""
    libraries = _FORMATS[format][2]
    missing = [name for name, module in libraries.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"`format` {format!r} needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _check_engine(engine, format):
    """Refuse what Keras does not export on an engine."""
    if engine == "torch":
        allowed = "tensorflow or jax to export models, which may be trained and saved on PyTorch"
        raise refusal("KERAS_BACKEND", allowed, engine)
    if engine == "jax" and format in ("onnx", "litert"):
        raise refusal("format", "'savedmodel' on JAX (others with KERAS_BACKEND=tensorflow)", format)


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy of a functional or sequential model whose half-precision layers compute in float32."""
    config = _in_float32(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # of layers whose configuration names none
    try:
        # Classes that are not registered are found where they are in scope; Lambdas are part of a live model.
        with keras.saving.custom_object_scope({type(part).__name__: type(part) for part in parts(model)}):
            twin = keras.saving.deserialize_keras_object(config, safe_mode=False)
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights([np.asarray(weight, new.dtype) for weight, new in zip(model.get_weights(), twin.weights)])
    finalize(twin)
    return twin


def _in_float32(config):
    """A configuration in which policies and dtypes of half precision are float32."""
    if isinstance(config, list | tuple):
        return type(config)(map(_in_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _HALF:
        return config | {"config": {"name": "float32"}}
    return {k: "float32" if k == "dtype" and v in _HALF else _in_float32(v) for k, v in config.items()}


def _shape(model, batch, size=64):
    """A shape of inputs, in which a free size of images is `size`."""
    fixed, *shape = model.input_shape
    return (fixed or batch, *(size if n is None else n for n in shape))


def _check(model, written, run):
    for batch in (1, 3):
        inputs = np.random.default_rng(batch).normal(size=_shape(model, batch)).astype(model.inputs[0].dtype)
        expected, received = model.predict_on_batch(inputs), run(str(written), inputs)
        allowed = _TOLERANCE * max(1.0, float(np.abs(expected).max()))
        error = np.abs(expected - received).max() if expected.shape == received.shape else np.inf
        if not error <= allowed:
            raise ValueError(
                f"`model` was exported, but the file computes outputs that differ by {error:.2g} from the model's. "
                "Nothing was written."
            )


def _onnx_session(path):
    """Return a file as a function of a batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (feed,) = session.get_inputs()
    return lambda inputs: session.run(None, {feed.name: inputs})[0]


def _run_onnx(path, inputs):
    return _onnx_session(path)(inputs)


def _run_litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    (feed,), (fetched,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(feed["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(feed["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(fetched["index"])


def _run_saved_model(path, inputs):
    import tensorflow as tf

    leave_gpus_to_the_engine()
    loaded = tf.saved_model.load(path)  # which must outlive its functions
    serve = loaded.signatures["serving_default"]  # by names: the model may take its one input in a list
    ((name,), (output,)) = serve.structured_input_signature[1], serve.structured_outputs
    return serve(**{name: tf.constant(inputs)})[output].numpy()


# By name: Keras's name, the end of a file's name, libraries with their modules, and what runs a file.
_FORMATS = {
    "onnx": ("onnx", ".onnx", {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}, _run_onnx),
    "litert": ("litert", ".tflite", {"ai-edge-litert": "ai_edge_litert"}, _run_litert),
    "savedmodel": ("tf_saved_model", "", {}, _run_saved_model),
}
FORMATS = tuple(_FORMATS)
