"""Export a run as a folder to publish: weights for other frameworks, their configuration, and a model card."""

import dataclasses
import json
import os
import shlex
from pathlib import Path

import numpy as np

from keras_sd import applications, weights
from keras_sd._version import __version__
from keras_sd.applications._registry import factory
from keras_sd.models.runtimes import export_model
from keras_sd.runs import networks
from keras_sd.training import RunFolder, TrainConfig, resolve
from keras_sd.training.recipes import default_name
from keras_sd.training.run_folder import RunStatus
from keras_sd.utils.checks import refusal
from keras_sd.utils.files import replacing
from keras_sd.weights import WeightsRow
from keras_sd.weights.exported_folder import CARD, CONFIG, MODEL, config_of, is_named_activation

# Fields of a spec that are the user's choice: they change how a network trains or is stored, or its resolution.
_FREE = {
    "seed",
    "gates",
    "granularity",
    "stacked",
    "memory_efficient",
    "dropout_rate",
    "momentum",
    "output_stride",
}
# Arguments of factories that no spec has; a run has none of those that the data set decides.
_OF_FACTORY = {"weights", "classifier_activation", "name", "rescale"}
_SURVIVAL = ("survival_probability", "survival_schedule")
_TOLERANCE = 1e-5  # between the outputs of the run's model and of the exported one


def export(run: str | os.PathLike, out: str | os.PathLike, license: str | None = None) -> Path:
    """Write the best weights of a finished run as a folder that `weights=` accepts.

    The folder contains `model.safetensors`, `config.json` (architecture, arguments, input, classes, preprocessing,
    measured accuracy) and `README.md`, a model card. The folder is read back and must compute the same outputs as the
    run's model.

    Args:
        run: Folder of a run of `keras-sd train`.
        out: New folder to write.
        license: License of the weights, for the model card.

    Returns:
        The path of the folder.

    Raises:
        ValueError: The run is not complete, or the export computes other outputs. Nothing is written then.
        FileExistsError: Something is there already.
    """
    folder, out = RunFolder.open(run), Path(out)
    RunFolder(out).check_free()
    results = _results_of_ended(folder)
    record, config = folder.read(folder.config), folder.train_config()
    row = _row(config, folder.dataset_record(), results, license)
    model = folder.load_model(folder.best_weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        partial.mkdir()
        weights.save(model, partial / MODEL)
        (partial / CONFIG).write_text(json.dumps(config_of(row) | {"keras_sd": __version__}, indent=2) + "\n")
        (partial / CARD).write_text(_card(row, config, record, out.name))
        _check(model, applications.get_model(row.architecture, weights=partial))
    return out


def export_file(run: str | os.PathLike, out: str | os.PathLike, format: str, folded: bool = False) -> Path:
    """Write the best model of a finished run as a file for another runtime.

    Args:
        run: Folder of a run of `keras-sd train`.
        out: New path to write.
        format, folded: As in `keras_sd.export_model`, which writes and checks the file.

    Returns:
        The path of the file, or of the folder of a SavedModel.

    Raises:
        ValueError: The run is not complete, an argument is not allowed, or the file computes other outputs.
        FileExistsError: Something is there already.
        ImportError: A library that the format needs is not installed.
    """
    folder = RunFolder.open(run)
    _results_of_ended(folder)
    return export_model(folder.load_model(folder.best_weights), out, format, folded)


def _results_of_ended(run: RunFolder) -> dict:
    results = run.outcome()
    if results.get("status") != RunStatus.COMPLETE:
        raise refusal("run", "the folder of a complete run", str(run))
    return results


def _activation(config: TrainConfig) -> str | None:
    """Return the name of the classifier's activation; `None` for logits. Unnamed ones cannot be exported."""
    activation = factory(config.model).classifier_activation
    activation = config.model_arguments.get("classifier_activation", activation)
    if activation is not None and not is_named_activation(activation):
        allowed = "of a network whose `classifier_activation` is a name of `keras.activations`"
        raise refusal("run", allowed, {"classifier_activation": activation})
    return activation


def _keywords(config: TrainConfig) -> dict[str, object]:
    """Return the arguments of a network's spec: those of the run and those of its initial weights."""
    keywords = {name: value for name, value in config.model_arguments.items() if name not in _OF_FACTORY}
    initial = config.model_arguments.get("weights")
    if initial is None:
        return keywords
    survival = {name: getattr(config, name) for name in _SURVIVAL if networks.identify(config.model)[1]}
    given = {**survival, **keywords}  # as when the run's network was built
    fitted = factory(config.model).fitted(initial, True, given)[1]
    return {name: value for name, value in fitted.items() if name in keywords or name not in survival}


def _row(config: TrainConfig, dataset: dict, results: dict, license: str | None) -> WeightsRow:
    """Return the facts about the weights of a run, in the form of published ones."""
    model = factory(config.model)
    spec = model.make_spec(**_keywords(config))
    arguments = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.name not in _FREE}
    survival = {name: getattr(config, name) for name in _SURVIVAL if name in arguments}
    arguments |= {name: value for name, value in survival.items() if name not in config.model_arguments}
    return WeightsRow(
        architecture=model.name,
        tag=config.data,
        file=None,
        license=license,  # type: ignore[arg-type]  # `None` if not given, as in a folder's `config.json`
        source=model.source,
        layout="keras_sd",
        preprocessing=networks.preprocessing_of(dataset),
        classes=len(dataset["class_names"]),
        class_names=tuple(dataset["class_names"]),
        input_shape=tuple(dataset["input_shape"]),
        arguments=arguments,
        classifier_activation=_activation(config),
        accuracy=results["test_accuracy"],
        accuracy_source=f"{dataset['test']} test images of {dataset['name']}",
    )


def _check(model, written) -> None:
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    error = np.abs(model.predict(images, verbose=0) - written.predict(images, verbose=0)).max()
    if not error <= _TOLERANCE * (1 if model.compute_dtype == "float32" else 1000):
        raise ValueError(f"`run` was read back with outputs that differ by {error:.2g}. Nothing was written.")


def training_command(config: TrainConfig) -> str:
    """Return the command that repeats a run: its recipe, options, and the settings that differ from both."""
    survival = config.survival_schedule
    schedule = survival if isinstance(survival, str) else ",".join(map(str, survival))
    names = ("model", "data", "epochs", "batch_size", "survival_probability", "learning_rate", "policy", "seed")
    named = {name: getattr(config, name) for name in names}
    options = {name.replace("_", "-"): value for name, value in named.items()} | {"survival-schedule": schedule}
    recipe = config.recipe or default_name(config.data) or "digits"  # a custom configuration has none
    words = [f"--recipe {recipe}", *(f"--{name} {shlex.quote(str(value))}" for name, value in options.items())]
    plain = resolve(recipe=recipe, survival_schedule=survival, **named)
    words += [f"--set {shlex.quote(setting)}" for setting in _settings(config, plain)]
    return f"keras-sd train {' '.join(words)}"


def evaluation_command(config: TrainConfig, architecture: str, name: str) -> str:
    """Return the command that evaluates the weights of a run's exported folder."""
    words = ["keras-sd", "evaluate", architecture, "--weights", name, "--data", config.data]
    if config.image_size is not None:
        words += ["--image-size", str(config.image_size)]
    return shlex.join(words)


def _settings(config: TrainConfig, plain: TrainConfig) -> list[str]:
    """Return the settings that differ from another configuration, as `KEY=VALUE`, without the data directory."""
    fields = dataclasses.asdict(config)
    left_out = ("data_dir", "recipe")
    changed = {name: value for name, value in fields.items() if value != getattr(plain, name) and name not in left_out}
    return [f"{name}={json.dumps(value)}" for name, value in changed.items()]


def _initial_weights(config: TrainConfig, record: dict) -> str:
    """Return the text of a card about the initial weights; empty for random ones."""
    initial, digest = config.model_arguments.get("weights"), record.get("weights_sha256")
    if initial is None:
        return ""
    return f"\nfrom the weights `{initial}`{f', SHA-256 {digest},' if digest else ''}\n"


def _card(row: WeightsRow, config: TrainConfig, record: dict, name: str) -> str:
    """Return the model card, in the format of the Hugging Face hub."""
    assert row.preprocessing is not None  # `_row` has both
    assert row.input_shape is not None
    environment = record["environment"]
    packages = ("keras_sd", "keras", environment.get("backend", "tensorflow"))
    versions = ", ".join(f"{name} {environment[name]}" for name in packages)
    license = f"license: {row.license.lower()}\n" if row.license else ""
    channels = "gray" if row.preprocessing.channels == "L" else row.preprocessing.channels
    return f"""---
library_name: keras
{license}pipeline_tag: image-classification
tags: [keras-sd, stochastic-depth]
metrics: [accuracy]
model-index:
- name: {json.dumps(name)}
  results:
  - task: {{type: image-classification}}
    dataset: {{name: {json.dumps(config.data)}, type: {json.dumps(config.data)}, split: test}}
    metrics: [{{type: accuracy, value: {row.accuracy:.4f}}}]
---

# {row.architecture} on {config.data}

{row.architecture} ({row.source}), {record["parameters"]:,} parameters, trained with survival probability
{config.survival_probability:g} of the last block.

**Accuracy: {row.accuracy:.4f}** on the {row.accuracy_source}, with the weights of the epoch that was best on
the validation images.

```python
from keras_sd import applications
from keras_sd.weights import preprocessing

model = applications.{row.architecture}(weights={json.dumps(name)})
prepare = preprocessing.for_weights("{row.architecture}", {json.dumps(name)})
model.predict(prepare(["image.png"]))
```

Input: {channels} images of {"x".join(map(str, row.input_shape[:2]))}, normalized as in `config.json`.
Classes: {", ".join(row.class_names)}.

Trained with

    {training_command(config)}
{_initial_weights(config, record)}
and evaluated with

    {evaluation_command(config, row.architecture, name)}

using {versions}.
"""
