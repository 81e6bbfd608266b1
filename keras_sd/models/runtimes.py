"""Export of models to other runtimes: ONNX, LiteRT, SavedModel."""

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

_TOLERANCE = 1e-4  # absolute error of outputs, relative to the largest output if that exceeds 1
_HALF = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def export_model(model: keras.Model, path: str | os.PathLike, format: str, folded: bool = False) -> Path:
    """Export a model in float32 to a file for another runtime, and check the file by running it there.

    Layers under a policy of mixed or half precision are exported as float32: `Model.export` would write their
    half-precision operations, which onnxruntime and LiteRT do not run on a CPU.

    Args:
        model: Functional or sequential Keras model with one input and one output. It is not changed.
        path: New path: a file that ends in `.onnx` or `.tflite`, or a folder for a SavedModel.
        format: `"onnx"` (needs tf2onnx and onnxruntime), `"litert"` (needs ai-edge-litert) or `"savedmodel"`.
        folded: Whether to export `keras_sd.fold(model)`, which has fewer operations.

    Returns:
        The path.

    Raises:
        ValueError: An argument is invalid, the Keras backend does not support the format, or the outputs of the file
            differ from the model's in batches of 1 and 3 (or of the model's fixed batch size). No file is left then.
        TypeError: `model` is not a functional or sequential model.
        FileExistsError: The path exists.
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
        raise refusal("path", "a new path: existing files are not overwritten", str(path), FileExistsError)
    check_libraries(format)
    twin = in_float32(model)
    twin = fold(twin) if folded else twin
    twin(np.zeros(_shape(twin, 1), twin.inputs[0].dtype))  # Keras exports to ONNX only models that were called
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as written:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # internal warnings of the converters
            twin.export(written, format=keras_format, verbose=False)
        _check(twin, written, run)
    return path


class OnnxModel:
    """A folded model that onnxruntime runs on the CPU, with the predictions of the Keras model within 1e-4.

    Args:
        model: As in `export_model`.
        folder: Path of a folder for the exported file. Its name depends on network and weights, so that each model is
            exported once.

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
        """Return the outputs of a batch, as `predict` of a Keras model does; `verbose` is ignored."""
        return self._run(images)


def _digest(model):
    """Return a name that identifies a network, its weights, and the versions that export it."""
    # Keras numbers input layers throughout a process.
    config = re.sub(r'"input_layer_\d+"', '"input_layer"', json.dumps(model.get_config(), default=str))
    digest = hashlib.sha256(f"{__version__} {keras.__version__} {config}".encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:32]


def check_libraries(format: str) -> None:
    """Raise an `ImportError` with the install command if libraries of a format are missing."""
    libraries = _FORMATS[format][2]
    missing = [name for name, module in libraries.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"`format` {format!r} needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _check_engine(engine, format):
    """Raise an error for formats that Keras cannot export on a backend."""
    if engine == "torch":
        allowed = "tensorflow or jax to export models; models trained and saved on PyTorch can be exported there"
        raise refusal("KERAS_BACKEND", allowed, engine)
    if engine == "jax" and format in ("onnx", "litert"):
        raise refusal("format", "'savedmodel' on JAX (for others use KERAS_BACKEND=tensorflow)", format)


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy of a functional or sequential model whose half-precision layers compute in float32."""
    config = _in_float32(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # for layers whose configuration has no policy
    try:
        # The scope is for classes that are not registered; safe mode is not needed for Lambdas of an existing model.
        with keras.saving.custom_object_scope({type(part).__name__: type(part) for part in parts(model)}):
            twin = keras.saving.deserialize_keras_object(config, safe_mode=False)
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights([np.asarray(weight, new.dtype) for weight, new in zip(model.get_weights(), twin.weights)])
    finalize(twin)
    return twin


def _in_float32(config):
    """Return a configuration with float32 instead of all half-precision policies and dtypes."""
    if isinstance(config, list | tuple):
        return type(config)(map(_in_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _HALF:
        return config | {"config": {"name": "float32"}}
    return {k: "float32" if k == "dtype" and v in _HALF else _in_float32(v) for k, v in config.items()}


def _shape(model, batch, size=64):
    """Return a shape of inputs, with `size` for each dimension that is not fixed."""
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
                f"`model` was exported, but the outputs of the file differ by {error:.2g} from those of the model. "
                "Nothing was written."
            )


def _onnx_session(path):
    """Return a function that runs a file on a batch."""
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
    loaded = tf.saved_model.load(path)  # must outlive its functions
    serve = loaded.signatures["serving_default"]  # called by name, since the model may take its only input in a list
    ((name,), (output,)) = serve.structured_input_signature[1], serve.structured_outputs
    return serve(**{name: tf.constant(inputs)})[output].numpy()


# By name: Keras's name, the file suffix, libraries with their modules, and the function that runs a file.
_FORMATS = {
    "onnx": ("onnx", ".onnx", {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}, _run_onnx),
    "litert": ("litert", ".tflite", {"ai-edge-litert": "ai_edge_litert"}, _run_litert),
    "savedmodel": ("tf_saved_model", "", {}, _run_saved_model),
}
FORMATS = tuple(_FORMATS)
