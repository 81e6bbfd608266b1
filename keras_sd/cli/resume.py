"""What `keras-sd train --resume` goes on with."""

import dataclasses


def recorded_run(out):
    """The folder of the run to go on with; `None` where there is no run yet.

    Args:
        out: Path, or `None`.

    Raises:
        ValueError: where no folder is named, or that of a run has lost its `config.json`.
    """
    from keras_sd.training import RunFolder
    from keras_sd.utils.files import DamagedFileError

    if out is None:
        raise ValueError("out is None; with --resume it must name the folder of a run")
    folder = RunFolder(out)
    if folder.config.exists():
        return folder
    if folder.has_progress():
        raise DamagedFileError(folder.config, "is missing", folder.remedy(folder.config))
    return None


def recorded_config(folder, smoke, given):
    """The configuration of a run, which must not be contradicted.

    Args:
        folder: The `RunFolder`.
        smoke: Boolean, whether the smoke form is asked for.
        given: Dictionary of what else is asked for, by names of fields; `None` for what is not.

    Returns:
        A `TrainConfig`.

    Raises:
        ValueError: where the run has another value than is asked for; the place of the data may change.
    """
    from keras_sd.runs import networks
    from keras_sd.training import recipe as recipes
    from keras_sd.utils import names

    config = folder.train_config()
    given = {name: value for name, value in given.items() if value is not None}
    arguments = {name: given.pop(name) for name in list(given) if name.startswith("model_arguments.")}
    if arguments:
        arguments = {name.removeprefix("model_arguments."): value for name, value in arguments.items()}
        given["model_arguments"] = {**config.model_arguments, **given.get("model_arguments", {}), **arguments}
    if "data" in given:
        given["data"] = names.data_name(given["data"])
    if "model" in given:
        given["model"], _ = networks.identify(given["model"])
    if smoke and recipes.smoke(config) != config:
        raise ValueError(f"smoke is True; it must be False as the run in {folder} has it")
    asked = dataclasses.replace(config, **given)
    folder.check_same(asked)
    return asked
