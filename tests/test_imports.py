"""The direction of imports, and what importing the package must not load."""

import ast
import subprocess
import types
from collections import Counter
from pathlib import Path

import pytest
from helpers import ENGINES, run_python

ROOT = Path(__file__).parent.parent
FOLDERS = {f"keras_sd{dot}": ROOT / "keras_sd" / dot[1:] for dot in ("", ".applications", ".benchmarks")}

# From the top down: a part of the package (a module or folder under keras_sd) imports parts below it only.
ORDER = (
    "cli",
    "benchmarks",
    "studies",
    "tuning",
    "runs",
    "applications",
    "analysis",
    "training",
    "models",
    "data",
    "weights",
    "layers",
    "backend",
    "schedules",
    "utils",
    "_version",
)
# What reaches across parts that know nothing of each other, though the order would allow it.
APART = {"training": {"models", "data", "weights"}, "models": {"data", "weights"}, "data": {"weights"}}
# Engines are the backend's affair, and TensorFlow that of `tf.data`.
LIBRARIES_OF_ENGINES = {"tensorflow", "jax", "torch"}
ENGINES_MAY_BE_IMPORTED_BY = {"backend", "data", "benchmarks"}
RUNS_EXPORTED_FILES = "keras_sd.models.runtimes"  # a SavedModel is run by TensorFlow, whatever the engine


def modules():
    for package, folder in FOLDERS.items():
        for file in sorted(folder.rglob("*.py")):
            parts = (*package.split("."), *file.relative_to(folder).with_suffix("").parts)
            yield ".".join(parts), file


def imported(module, file):
    """Names of all modules that a file imports anywhere, relative imports resolved."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def part(name):
    """The part of the package that a dotted name belongs to, `None` for others and the package itself."""
    names = name.split(".")
    return names[1] if names[0] == "keras_sd" and len(names) > 1 else None


KNOWN_PARTS = {part(module) for module, _ in modules()}


def test_every_part_has_a_place_in_the_order():
    assert KNOWN_PARTS - {None, "__init__"} == set(ORDER)


def test_imports_point_down():
    """One test for all modules: the rule is one, and each breach is named."""
    wrong = []
    for module, file in modules():
        own, names = part(module), set(imported(module, file))
        parts = {part(name) for name in names} & KNOWN_PARTS - {own, "__init__"}
        allowed = set(ORDER[ORDER.index(own) + 1 :]) - APART.get(own, set()) if own in ORDER else KNOWN_PARTS
        wrong += [f"{module} imports {other}" for other in parts - allowed]
        roots = {name.split(".")[0] for name in names} if module != RUNS_EXPORTED_FILES else set()
        wrong += [
            f"{module} imports {engine}"
            for engine in LIBRARIES_OF_ENGINES & roots
            if own not in ENGINES_MAY_BE_IMPORTED_BY
        ]
    assert not wrong


def test_no_file_name_occurs_twice():
    """But for packages, and what each engine has."""
    counts = Counter(file.name for _, file in modules() if file.parent.parent.name != "backend")
    assert [name for name, count in counts.items() if count > 1 and name != "__init__.py"] == []


def test_every_folder_with_modules_is_a_package_under_version_control():
    """Or its modules would import here and be missing from the wheel."""
    folders = {file.parent for _, file in modules()}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    ignored = subprocess.run(
        ["git", "check-ignore", *(file.resolve() for _, file in modules())], cwd=ROOT, capture_output=True, text=True
    )
    assert (ignored.stdout, ignored.stderr) == ("", ""), "a rule of .gitignore hides modules"


def test_benchmarks_import_without_the_package():
    """A process that measures Keras or PyTorch must not pay for importing keras_sd."""
    for file in (ROOT / "benchmarks").glob("*.py"):
        imports = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert "keras_sd" not in " ".join(map(ast.unparse, imports)), file


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy_beside_keras(tmp_path):
    heavy = ("tensorflow_datasets", "keras_tuner", "matplotlib", "torch", "sklearn")
    # Keras itself loads some where they are installed; those are not ours to avoid.
    code = f"""import sys, keras
before = set(sys.modules)
import keras_sd, keras_sd.applications, keras_sd.training
print([name for name in {heavy} if name in set(sys.modules) - before])"""
    process = run_python(code, tmp_path)
    assert process.stdout.strip() == "[]", process.stderr


@pytest.mark.parametrize(
    "commands",
    [["--help"], ["models"], ["recipes"], ["runs", "."], ["weights", "list"], ["train", "--help"], ["study"]],
    ids=" ".join,
)
def test_commands_that_only_tell_import_no_engine(commands, tmp_path):
    code = f"""import contextlib, io, sys, keras_sd_command
sys.argv = ["keras-sd", *{commands}]
with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
    keras_sd_command.main()
print(len(output.getvalue()) > 30, [name for name in ("keras", "tensorflow", "torch", "jax") if name in sys.modules])"""
    process = run_python(code, tmp_path)
    assert process.stdout.strip() == "True []", process.stderr


@pytest.mark.slow
def test_other_commands_import_what_files_of_models_need(tmp_path):
    code = """import sys, keras_sd_command
sys.argv = ["keras-sd", "evaluate", "."]
try:
    keras_sd_command.main()
except SystemExit:
    from keras.saving import get_registered_object
    print(all(get_registered_object(f"keras_sd>{name}") for name in ("StochasticDepthStack", "SGD", "threshold")))"""
    process = run_python(code, tmp_path)
    assert process.stdout.strip() == "True", process.stderr


def test_lazy_packages_export_what_they_name():
    """Whatever was imported before: a function may have the name of no module of its package."""
    from keras_sd import training, tuning, weights

    for package in (training, tuning, weights):
        assert not [name for name in package.__all__ if isinstance(getattr(package, name), types.ModuleType)]
    with pytest.raises(AttributeError, match=r"module 'keras_sd\.weights' has no attribute 'nothing'"):
        _ = weights.nothing


@pytest.mark.slow
def test_a_saved_model_loads_after_importing_the_package(tmp_path):
    from keras_sd import applications, training

    model = applications.ResNet(depth=8, input_shape=(8, 8, 1), survival_probability=0.5)
    model.compile(training.SGD(training.StepSchedule(0.1, 10)), "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    code = "import keras, keras_sd; print(keras.saving.load_model('model.keras').optimizer.l2)"
    process = run_python(code, tmp_path)
    assert process.stdout.strip() == "0.0001", process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_tensorflow_is_imported_for_data_only_and_leaves_gpus_to_the_engine(engine, tmp_path):
    code = """import sys, keras_sd, keras_sd.applications, keras_sd.analysis, keras_sd.weights
before = "tensorflow" in sys.modules
import tensorflow as tf
hidden, hide = [], tf.config.set_visible_devices
tf.config.set_visible_devices = lambda *arguments: [hidden.append(arguments), hide(*arguments)]
import keras_sd.data
hide(tf.config.list_physical_devices("CPU"), "CPU")  # an error where TensorFlow has computed already
print(before, hidden)"""
    process = run_python(code, tmp_path, engine)
    is_engine = engine == "tensorflow"
    assert process.stdout.strip() == f"{is_engine} {[] if is_engine else [([], 'GPU')]}", process.stderr
