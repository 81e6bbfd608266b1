"""Runs and models that leave the package: folders to publish, converted files, and other runtimes."""

import dataclasses
import json
import re
import shlex

import keras
import numpy as np
import pytest
from helpers import keras_sd, noise, randomize
from PIL import Image

from keras_sd import applications, data, export_model, fold, training, weights
from keras_sd.cli import publish
from keras_sd.cli.train import parse_schedule
from keras_sd.models import runtimes
from keras_sd.models.runtimes import in_float32
from keras_sd.runs import export
from keras_sd.runs.networks import build, configure
from keras_sd.training import run_folder as folder_module
from keras_sd.training.overrides import Overrides, parse_all
from keras_sd.weights import preprocessing

# ------------------------------------------------------------------------------------------------- exported folders


exports = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow exports all formats")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of a network with stochastic depth, with weights that chance drew."""
    config = configure(Overrides(data="digits", model="ResNet20", survival_schedule="uniform", epochs=1))
    return make_run(tmp_path_factory.mktemp("runs") / "resnet", config)


def make_run(path, config):
    """Leaves what a training would, but for weights that chance drew."""
    folder, dataset = training.RunFolder.create(path), data.load("digits")
    model = randomize(build(config, dataset))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    record = {"dataset": dataset.describe(), "environment": folder_module.environment(), "parameters": 270_810}
    folder.write(folder.config, {"config": dataclasses.asdict(config), **record})
    model.save_weights(folder.best_weights)
    scores = training.evaluate(model, dataset)
    results = {"status": "complete", "test_accuracy": scores["accuracy"], "test_loss": scores["loss"]}
    results |= {"test_accuracy_final": scores["accuracy"], "best_epoch": 1, "train_seconds": 1.0}
    folder.write(folder.results, results)
    randomize(model, seed=1)  # the best weights are not the last
    model.save(folder.model)
    return folder


@pytest.fixture(scope="module")
def exported(run):
    out = run.path.with_name("published")
    process = keras_sd("export", run, out, "--license", "MIT")
    assert process.exit_code == 0, process.output
    return out


@pytest.mark.slow
def test_an_exported_run_is_loaded_by_its_folder(run, exported):
    """Input, classes and survival probabilities are those of the run."""
    trained = keras.saving.load_model(run.model)
    trained.load_weights(run.best_weights)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    model = applications.ResNet20(weights=exported)
    np.testing.assert_allclose(model(images), trained(images), atol=1e-6)
    with pytest.raises(ValueError, match=r"`survival_probability` must be 0\.5"):
        applications.ResNet20(weights=exported, survival_probability=1.0)
    other = applications.ResNet20(weights=exported, classes=3, input_shape=(16, 16, 3))
    assert (other.input_shape, other.output_shape) == ((None, 16, 16, 3), (None, 3))
    same = applications.ResNet20(weights=exported, stacked=False)
    np.testing.assert_allclose(same(images), trained(images), atol=1e-5)


@pytest.mark.slow
def test_an_exported_run_is_evaluated_as_the_run_was(run, exported):
    results = run.read(run.results)
    accuracy = results["test_accuracy"]
    process = keras_sd("evaluate", "ResNet20", "--weights", exported, "--data", "digits")
    assert f"test accuracy {accuracy:.4f}, loss {results['test_loss']:.4f}" in process.output
    card = (exported / "README.md").read_text()
    assert f"**Accuracy: {accuracy:.4f}** on the 360 test images of digits" in card
    assert "license: mit" in card
    assert json.loads((exported / "config.json").read_text())["test_accuracy"] == accuracy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("ResNet", {"depth": 8, "filters": [4, 6, 8], "shortcut": "projection", "stacked": False}),
        ("DenseNet", {"depth": 10, "growth_rate": 4, "bottleneck": False}),
    ],
)
def test_a_run_of_a_constructor_is_exported_and_loaded_by_its_folder(model, arguments, tmp_path):
    values = {"model_arguments": arguments, "augmentation": ("shift_flip",)}
    config = configure(
        Overrides(data="digits", model=model, recipe="fast_cifar", file=values, survival_probability=0.8)
    )
    run = make_run(tmp_path / "run", config)
    process = keras_sd("export", run, tmp_path / "out")
    assert process.exit_code == 0, process.output
    trained = keras.saving.load_model(run.model)
    trained.load_weights(run.best_weights)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    loaded = applications.get_model(model, weights=tmp_path / "out")
    np.testing.assert_allclose(loaded(images), trained(images), atol=1e-5)
    process = keras_sd("evaluate", model, "--weights", tmp_path / "out", "--data", "digits")
    assert f"test accuracy {run.read(run.results)['test_accuracy']:.4f}" in process.output
    assert commanded(tmp_path / "out") == config


@pytest.mark.slow
def test_the_command_on_the_card_repeats_the_run(run, exported):
    assert commanded(exported) == run.train_config()


def commanded(folder):
    """The configuration that the command on a model card asks for."""
    (line,) = [line for line in (folder / "README.md").read_text().splitlines() if "keras-sd train" in line]
    words = shlex.split(line)[2:]
    pairs = list(zip(words[::2], words[1::2]))
    asked = {n.removeprefix("--").replace("-", "_"): v for n, v in pairs if n != "--set"}
    asked["survival_schedule"] = parse_schedule(asked.pop("survival_schedule"))
    asked["settings"] = parse_all([v for n, v in pairs if n == "--set"])
    for name in ("epochs", "batch_size", "seed"):
        asked[name] = int(asked[name])
    for name in ("survival_probability", "learning_rate"):
        asked[name] = float(asked[name])
    return configure(Overrides(**asked))


def test_an_exported_run_prepares_images_as_its_data_set_did(exported):
    digits = data.load("digits")
    pixels = digits.test.images[:5]
    prepare = preprocessing.for_weights("ResNet20", exported)
    prepared = prepare(np.round(pixels * (255 / 16)).astype("uint8"))
    np.testing.assert_allclose(prepared, digits.normalize(pixels), atol=0.02)  # 16 levels in 256


@pytest.mark.slow
def test_exporting_refuses_what_it_cannot(run, exported, tmp_path, monkeypatch):
    before = {file.name: file.read_bytes() for file in exported.iterdir()}
    for source, out, message in (
        (run, exported, "never overwritten"),
        (tmp_path / "no", tmp_path / "out", "which contains a config.json"),
    ):
        process = keras_sd("export", source, out)
        assert process.exit_code == 2
        assert message in process.stderr
    monkeypatch.setattr(training.RunFolder, "outcome", lambda self: {"status": "interrupted"})
    process = keras_sd("export", run, tmp_path / "out")
    assert process.exit_code == 2
    assert "the folder of a complete run" in process.stderr
    monkeypatch.undo()
    monkeypatch.setattr(export, "_TOLERANCE", -1)
    process = keras_sd("export", run, tmp_path / "out")
    assert process.exit_code == 2
    assert "read back with outputs that differ" in process.stderr
    assert list(tmp_path.iterdir()) == []
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before


def test_evaluate_says_what_an_exported_folder_is(exported):
    process = keras_sd("evaluate", exported)
    assert process.exit_code == 2
    assert "for an exported folder, give the model, and the folder as --weights" in process.stderr


# ---------------------------------------------------------------------------------------------------------- convert


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["timm", "keras_sd"])
def test_convert_both_ways(tmp_path, layout):
    model = randomize(applications.ResNet20(survival_probability=0.5, classifier_activation=None))
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    model.save(tmp_path / "a.keras")
    safetensors = tmp_path / "b.safetensors"
    assert keras_sd("convert", tmp_path / "a.keras", safetensors, "--layout", layout).exit_code == 0
    names = list(weights.read(safetensors).arrays)
    assert ("layer1.0.conv1.weight" in names) is (layout == "timm")
    process = keras_sd("convert", safetensors, tmp_path / "c.keras", "--model", "resnet20")
    if layout == "keras_sd":  # which does not put survival probabilities into the weights
        assert process.exit_code == 2
        assert "survival probabilities" in process.stderr
        assert not (tmp_path / "c.keras").exists()
        return
    assert process.exit_code == 0, process.stderr
    again = keras.saving.load_model(tmp_path / "c.keras")
    np.testing.assert_allclose(again(images), keras.ops.softmax(model(images)), atol=1e-5)
    assert keras_sd("convert", tmp_path / "c.keras", tmp_path / "d.weights.h5", "--model", "ResNet20").exit_code == 0
    last = applications.ResNet20(weights=tmp_path / "d.weights.h5")
    np.testing.assert_array_equal(last(images), again(images))


def test_a_conversion_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def half(network, path, *_):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    file = weights.save(applications.ResNet20(), tmp_path / "w.safetensors")
    monkeypatch.setattr(publish, "_write", half)
    process = keras_sd("convert", file, tmp_path / "out.keras", "--model", "ResNet20")
    assert process.exit_code == 2
    assert "No space left" in process.stderr
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_convert_refuses_what_it_cannot(tmp_path):
    file = weights.save(applications.ResNet20(classes=7), tmp_path / "w.safetensors")
    (tmp_path / "bad.keras").write_text("<html>")
    cases = (
        ([file, file], "which exists"),
        ([file, tmp_path / "out.onnx"], "must end in .safetensors, .keras or .weights.h5"),
        ([file, tmp_path / "out.keras"], "`--model` must be given"),
        ([tmp_path / "no.th", tmp_path / "out.keras"], "which is not a file"),
        ([tmp_path / "bad.keras", tmp_path / "out.safetensors"], "a web page"),
        ([file, tmp_path / "out.keras", "--model", "ResNet20"], "head/bias (7,), expected (10,)"),
        ([file, tmp_path / "out.keras", "--model", "ResNet32"], "It lacks"),
        ([file, tmp_path / "out.safetensors", "--model", "ResNet20", "--classes", 7, "--layout", "x"], "layout='x'"),
    )
    before = sorted(tmp_path.iterdir())
    for arguments, message in cases:
        process = keras_sd("convert", *arguments)
        assert process.exit_code == 2, arguments
        assert message in process.stderr
        assert sorted(tmp_path.iterdir()) == before


# ----------------------------------------------------------------------------------------------------------- predict


@pytest.mark.slow
@pytest.mark.weights
def test_predict(resnet20_file, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    process = keras_sd("predict", "resnet20", tmp_path / "a.png", "--weights", resnet20_file, "--top", 3)
    assert process.exit_code == 0, process.output
    images = preprocessing.for_weights("ResNet20", resnet20_file)(pixels)
    scores = applications.ResNet20(weights=resnet20_file).predict(images, verbose=0)[0]
    from keras_sd.weights.class_names import CIFAR10

    rows = [line.split()[-2:] for line in process.output.splitlines()[2:]]
    assert rows == [[CIFAR10[i], f"{scores[i]:.4f}"] for i in scores.argsort()[::-1][:3]]


@pytest.mark.slow
def test_predict_names_the_classes_of_an_exported_run(exported, tmp_path):
    Image.fromarray(np.zeros((20, 30), "uint8")).save(tmp_path / "a.png")
    process = keras_sd("predict", "ResNet20", tmp_path / "a.png", "--weights", exported)
    assert process.exit_code == 0, process.output
    assert process.output.count("a.png") == 5
    assert keras_sd("predict", exported, tmp_path / "a.png").output == process.output


@exports
@pytest.mark.slow
def test_predict_on_onnxruntime_gives_what_keras_gives_and_exports_once(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SD_HOME", str(tmp_path / "home"))
    for name in "ab":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 255, (20, 30), "uint8")).save(
            tmp_path / f"{name}.png"
        )
    arguments = ["predict", exported, tmp_path / "a.png", tmp_path / "b.png", "--top", 7, "--json"]
    rows = json.loads(keras_sd(*arguments).output)
    process = keras_sd(*arguments, "--runtime", "onnx")
    assert process.exit_code == 0, process.output
    scores, found = (
        {(r["image"], r["class"]): r["probability"] for r in table} for table in (rows, json.loads(process.output))
    )
    assert scores.keys() == found.keys()
    np.testing.assert_allclose(list(found.values()), [scores[key] for key in found], atol=1e-4)
    (file,) = (tmp_path / "home" / "onnx").iterdir()
    monkeypatch.setattr(runtimes, "export_model", None)
    assert keras_sd(*arguments, "--runtime", "onnx").output == process.output
    # Other weights are another file.
    assert file.stem != runtimes._digest(randomize(applications.ResNet20(input_shape=(8, 8, 1)), seed=3))


def test_predict_says_how_to_install_the_runtime(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else True)
    process = keras_sd("predict", exported, tmp_path, "--runtime", "onnx")
    assert process.exit_code == 2
    assert "pip install onnxruntime" in process.stderr
    process = keras_sd("predict", exported, tmp_path, "--runtime", "tensorrt")
    assert "Received: runtime='tensorrt'" in process.stderr


def test_predict_refuses_what_it_cannot(exported, tmp_path):
    (tmp_path / "a.png").write_text("no")
    for arguments, message in (
        (["ResNet20", tmp_path / "no.png", "--weights", exported], "must be files, or folders"),
        (["ResNet20", tmp_path / "a.png", "--weights", exported], "must be image files"),
        (["ResNet20", tmp_path / "a.png", "--weights", exported, "--top", 0], "Received: top=0"),
        (["ResNet20", tmp_path / "a.png", "--weights", "imagenet"], "Received: weights='imagenet'"),
        (["ResNet21", tmp_path / "a.png", "--weights", exported], "ResNet20"),
    ):
        process = keras_sd("predict", *arguments)
        assert process.exit_code == 2
        assert message in process.stderr


@pytest.mark.large
def test_train_export_evaluate(tmp_path):
    """From the first command to the last, as a user has it."""
    assert keras_sd("train", "--model", "ResNet20", "--epochs", 1, "--out", tmp_path / "run").exit_code == 0
    assert keras_sd("export", tmp_path / "run", tmp_path / "out").exit_code == 0
    accuracy = json.loads((tmp_path / "run" / "results.json").read_text())["test_accuracy"]
    process = keras_sd("evaluate", "ResNet20", "--weights", tmp_path / "out", "--data", "digits")
    assert f"test accuracy {accuracy:.4f}" in process.output


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.cifar10
@pytest.mark.weights
def test_evaluate_gives_the_accuracy_that_pytorch_gives(resnet20_file, cifar10_dir):
    """0.8103 is PyTorch's figure on these images."""
    process = keras_sd(
        "evaluate", "ResNet20", "--weights", resnet20_file, "--data", "cifar10", "--data-dir", cifar10_dir
    )
    assert process.exit_code == 0, process.output
    accuracy = float(process.output.split("test accuracy ")[1].split(",")[0])
    assert abs(accuracy - 0.8103) <= 0.0005


def test_evaluate_refuses_what_it_cannot(exported):
    for arguments, message in (
        (["ResNet20", "--data", "digits"], "`--weights` must be given"),
        (["ResNet20", "--weights", exported], "`--data` must be given"),
        (["ResNet21"], "or the name of a model"),
        (["ResNet20", "--weights", "imagenet", "--data", "digits"], "Received: weights='imagenet'"),
    ):
        process = keras_sd("evaluate", *arguments)
        assert process.exit_code == 2
        assert message in process.stderr


# ---------------------------------------------------------------------------------------------------- other runtimes

# One small network of each form that the named families have.
FORMS = {
    "MLP": lambda **a: applications.MLP(widths=(6,), classifier_activation=None, **a),
    "PlainNet": lambda **a: applications.PlainNet(depth=8, classifier_activation=None, **a),
    "stack": lambda **a: applications.ResNet(depth=14, survival_probability=0.5, classifier_activation=None, **a),
    "blocks": lambda **a: applications.ResNet(
        depth=8, shortcut="projection", survival_probability=0.5, stacked=False, classifier_activation=None, **a
    ),
    "ResNet, bottlenecks": lambda **a: applications.ResNet(
        blocks=(2, 2), filters=(4, 8), block="bottleneck", shortcut="projection", classifier_activation=None, **a
    ),
    "ResNet, pre-activation": lambda **a: applications.ResNet(
        blocks=(2, 2), filters=(4, 8), block="preactivation", shortcut="projection", classifier_activation=None, **a
    ),
    "ResNet, for ImageNet": lambda **a: applications.ResNet50(
        weights=None, blocks=(1, 2), filters=(4, 8), classifier_activation=None, **a
    ),
    "DenseNet-BC": lambda **a: applications.DenseNet(blocks=(2, 2), growth_rate=4, classifier_activation=None, **a),
    "plain DenseNet": lambda **a: applications.DenseNet(
        blocks=(2, 2), growth_rate=4, bottleneck=False, survival_probability=0.5, classifier_activation=None, **a
    ),
    "DenseNet, for ImageNet": lambda **a: applications.DenseNet121(
        weights=None, blocks=(2, 2), growth_rate=4, classifier_activation=None, **a
    ),
}
# Converters see other operations in folded networks; a SavedModel holds TensorFlow's own.
CHEAP = {("DenseNet-BC", True, "onnx"), ("DenseNet-BC", True, "litert")}
OFTEN = {"onnx": FORMS, "litert": ("stack", "DenseNet-BC"), "savedmodel": ("stack",)}
SIZE = 16


def run_saved_model(path, images):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # which must outlive its functions
    return loaded.serve(images).numpy()


def run_onnx(path, images):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    (feed,) = session.get_inputs()
    return session.run(None, {feed.name: images})[0]


def run_litert(path, images):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    (feed,), (fetched,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(feed["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(feed["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(fetched["index"])


RUNTIMES = {
    "savedmodel": ("tf_saved_model", "model", run_saved_model),
    "onnx": ("onnx", "model.onnx", run_onnx),
    "litert": ("litert", "model.tflite", run_litert),
}


def combinations():
    for form in FORMS:
        for folded in (False, True):
            for runtime in RUNTIMES:
                marks = [] if (form, folded, runtime) in CHEAP else [pytest.mark.slow]
                marks += [] if folded and form in OFTEN[runtime] else [pytest.mark.large]
                yield pytest.param(form, folded, runtime, marks=marks, id=f"{form}-{'folded' * folded}-{runtime}")


def exported_by_keras(model, folder, runtime):
    keras_format, file, execute = RUNTIMES[runtime]
    if runtime == "onnx":
        pytest.importorskip("tf2onnx")
    model(np.zeros((model.input_shape[0] or 1, *model.input_shape[1:]), "float32"))  # ONNX wants models called once
    model.export(folder / file, format=keras_format, verbose=False)
    return lambda images: execute(folder / file, images)


@exports
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("form", "folded", "runtime"), list(combinations()))
def test_every_form_runs_in_every_runtime_with_a_free_batch(tmp_path, form, folded, runtime):
    model = randomize(FORMS[form](input_shape=(SIZE, SIZE, 3)))
    execute = exported_by_keras(fold(model) if folded else model, tmp_path, runtime)
    for batch in (1, 3):
        images = noise(batch, SIZE, SIZE, 3)
        expected = model.predict_on_batch(images)
        assert np.abs(expected).max() > 0.1  # something to compare
        np.testing.assert_allclose(execute(images), expected, atol=1e-4)


@exports
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.large), 3])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("folded", [pytest.param(False, marks=pytest.mark.large), True])
@pytest.mark.parametrize(
    "form",
    [name if name == "DenseNet-BC" else pytest.param(name, marks=pytest.mark.large) for name in FORMS],
)
def test_forms_run_in_every_runtime_with_a_fixed_batch(tmp_path, form, folded, runtime, batch):
    model = randomize(FORMS[form](input_tensor=keras.Input(batch_shape=(batch, SIZE, SIZE, 3))))
    execute = exported_by_keras(fold(model) if folded else model, tmp_path, runtime)
    images = noise(batch, SIZE, SIZE, 3)
    np.testing.assert_allclose(execute(images), model.predict_on_batch(images), atol=1e-4)


@exports
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dense_blocks_in_several_chunks_run_in_every_runtime(tmp_path):
    """300 images of 16x16 are ten chunks, the last of which is smaller."""
    model = randomize(FORMS["DenseNet-BC"](input_shape=(SIZE, SIZE, 3)))
    images = noise(300, SIZE, SIZE, 3)
    expected = model.predict_on_batch(images)
    folded = fold(model)
    for runtime in RUNTIMES:
        execute = exported_by_keras(folded, tmp_path, runtime)
        np.testing.assert_allclose(execute(images), expected, atol=1e-4)


@pytest.fixture
def half_precision_model():
    """A network of mixed precision, in a session that computes in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = FORMS["blocks"](input_shape=(8, 8, 3))
    keras.config.set_dtype_policy("float32")
    return randomize(model)


@exports
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", ["onnx", pytest.param("litert", marks=pytest.mark.large)])
def test_models_of_mixed_precision_are_exported_in_float32(half_precision_model, tmp_path, runtime):
    file, execute = RUNTIMES[runtime][1:]
    path = export_model(half_precision_model, tmp_path / file, runtime, folded=runtime == "onnx")
    assert [path] == list(tmp_path.iterdir())
    images = noise(3, 8, 8, 3)
    expected = half_precision_model.predict_on_batch(images)
    assert expected.dtype == "float32"  # the classifier's
    np.testing.assert_allclose(execute(path, images), expected, atol=0.05 * np.abs(expected).max())
    assert half_precision_model.layers[2].compute_dtype == "bfloat16"


def test_the_twin_in_float32_has_no_half_precision(half_precision_model):
    twin = in_float32(half_precision_model)
    assert {part.dtype_policy.name for part in twin._flatten_layers()} == {"float32"}
    for a, b in zip(twin.get_weights(), half_precision_model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@exports
def test_a_file_that_computes_something_else_is_not_left_there(tmp_path, monkeypatch):
    wrong = ("tf_saved_model", "", {}, lambda path, inputs: np.zeros((len(inputs), 10), "float32"))
    monkeypatch.setitem(runtimes._FORMATS, "savedmodel", wrong)
    with pytest.raises(ValueError, match=r"outputs of the file differ by .*Nothing was written"):
        export_model(randomize(FORMS["MLP"](input_shape=(4, 4, 1))), tmp_path / "out", "savedmodel")
    assert list(tmp_path.iterdir()) == []


@exports
def test_export_model_refuses_what_it_cannot(tmp_path, monkeypatch):
    model = FORMS["MLP"](input_shape=(4, 4, 1))
    two = keras.Model(model.inputs, [*model.outputs, *model.outputs])
    monkeypatch.setitem(runtimes._FORMATS, "litert", ("litert", ".tflite", {"the-library": "no_such_module"}, None))
    for arguments, error, message in (
        ((model, tmp_path / "m.onnx", "tflite"), ValueError, "`format` must be one of 'onnx', 'litert', 'savedmodel'"),
        ((model, tmp_path / "m.pb", "onnx"), ValueError, "`path` must be a path that ends in .onnx"),
        ((model, tmp_path, "savedmodel"), FileExistsError, "`path` must be a new path"),
        ((model, tmp_path / "m.tflite", "litert"), ImportError, "needs the-library: pip install the-library"),
        ((two, tmp_path / "m", "savedmodel"), ValueError, "one input and one output"),
        ((model, tmp_path / "m", "savedmodel", 1), ValueError, "`folded` must be one of True, False"),
        (("model", tmp_path / "m", "savedmodel"), TypeError, "`model` must be a Keras model"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            export_model(*arguments)
    assert list(tmp_path.iterdir()) == []


@exports
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("runtime", "options"),
    [("onnx", ["--fold"]), *(pytest.param(name, [], marks=pytest.mark.large) for name in ("litert", "savedmodel"))],
)
def test_a_run_is_exported_for_a_runtime(run, tmp_path, runtime, options):
    file, execute = RUNTIMES[runtime][1:]
    process = keras_sd("export", run, tmp_path / file, "--format", runtime, *options)
    assert process.exit_code == 0, process.output
    assert str(tmp_path / file) in process.output.replace("\n", "")
    model = keras.saving.load_model(run.model)
    model.load_weights(run.best_weights)
    images = noise(3, *model.input_shape[1:])
    np.testing.assert_allclose(execute(tmp_path / file, images), model.predict_on_batch(images), atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="tests what only PyTorch has (KERAS_BACKEND=torch)")
def test_pytorch_exports_to_no_other_runtime(tmp_path):
    with pytest.raises(
        ValueError, match=r"`KERAS_BACKEND` must be tensorflow or jax .*Received: KERAS_BACKEND='torch'"
    ):
        export_model(FORMS["MLP"](input_shape=(4, 4, 1)), tmp_path / "m.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


@exports
@pytest.mark.slow
def test_exporting_a_run_for_a_runtime_refuses_what_it_cannot(run, tmp_path):
    for arguments, message in (
        ([tmp_path / "m.onnx", "--format", "pickle"], "`format` must be one of"),
        ([tmp_path / "m.tflite", "--format", "onnx"], "`path` must be a path that ends in .onnx"),
        ([tmp_path / "m.onnx", "--format", "onnx", "--license", "mit"], "--license is for the model card"),
        ([tmp_path / "out", "--fold"], "--fold is for --format"),
        ([tmp_path, "--format", "savedmodel"], "`path` must be a new path"),
    ):
        process = keras_sd("export", run, *arguments)
        assert process.exit_code == 2
        assert message in process.stderr
    assert list(tmp_path.iterdir()) == []
