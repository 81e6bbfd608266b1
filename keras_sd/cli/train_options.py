"""The options of `keras-sd train`, in the groups that its help shows."""

import functools
from pathlib import Path
from typing import Annotated

import typer

_model = functools.partial(typer.Option, rich_help_panel="Model")
_data = functools.partial(typer.Option, rich_help_panel="Data")
_depth = functools.partial(typer.Option, rich_help_panel="Stochastic depth")
_optimization = functools.partial(typer.Option, rich_help_panel="Optimization")
_run = functools.partial(typer.Option, rich_help_panel="Run")
_processes = functools.partial(typer.Option, rich_help_panel="Devices and processes")

Model = Annotated[str | None, _model(help="Name of a model; `keras-sd models` lists them.")]
Weights = Annotated[
    str | None,
    _model(
        help="Weights to fine-tune: a tag such as imagenet or a1_in1k, a file, or a folder from `keras-sd export`.",
        show_default="none",
    ),
]
HeadEpochs = Annotated[
    int | None,
    _model(help="Epochs that train only the classifier, at ten times the learning rate."),
]
Freeze = Annotated[
    str | None,
    _model(help="none, batch_norm, backbone, or a layer name, to freeze every layer up to it."),
]
Policy = Annotated[str | None, _model(help="Keras dtype policy, such as mixed_bfloat16.", show_default="float32")]

Data = Annotated[
    str | None,
    _data(help="digits, cifar10, svhn, ..., tfds:NAME, folder:PATH, npz:PATH."),
]
DataDir = Annotated[Path | None, _data(help="Directory of TensorFlow Datasets.", show_default="~/tensorflow_datasets")]
ImageSize = Annotated[
    int | None, _data(help="Height and width to resize images to.", show_default="the weights', or the images'")
]
Augmentation = Annotated[str | None, _data(help="Comma-separated names, or none.", show_default="the data set's")]
Mixup = Annotated[float | None, _data(help="Alpha of MixUp; 0 for none.")]
Cutmix = Annotated[float | None, _data(help="Alpha of CutMix; 0 for none.")]
MaxBadFiles = Annotated[
    int | None, _data(min=0, help="Maximum number of unreadable files to skip in a folder.", show_default="0")
]
Workers = Annotated[
    int | None, _data(min=1, help="Threads that read and augment images.", show_default="chosen by TensorFlow")
]

SurvivalProbability = Annotated[
    float | None,
    _depth(help="Survival probability of the last block, in (0, 1]; 1 keeps all. Equals 1 - drop path rate."),
]
SurvivalSchedule = Annotated[
    str | None,
    _depth(help="linear, uniform, or one probability for each block: 0.9,0.8,..."),
]

Epochs = Annotated[int | None, _optimization(help="Passes over the training images.")]
BatchSize = Annotated[int | None, _optimization(help="Images per step.")]
LearningRate = Annotated[
    float | None,
    _optimization("--learning-rate", "--lr", help="Learning rate at the start, or after the warm-up."),
]
LrSchedule = Annotated[
    str | None, _optimization("--lr-schedule", "--learning-rate-schedule", help="step, cosine or one_cycle.")
]
WarmupEpochs = Annotated[float | None, _optimization(help="Epochs of learning rate warm-up.")]
WeightDecay = Annotated[
    float | None,
    _optimization("--weight-decay", "--l2", help="Weight decay, as the gradient of an L2 penalty."),
]
LabelSmoothing = Annotated[float | None, _optimization(help="Label smoothing, in [0, 1).")]
Ema = Annotated[
    float | None,
    _optimization("--ema", "--ema-momentum", help="Momentum of a moving average of the weights, such as 0.999."),
]

Recipe = Annotated[
    str | None,
    _run(help="Name of a recipe; `keras-sd recipes` lists them.", show_default="by weights, else by data"),
]
Config = Annotated[Path | None, _run(help="Settings: a YAML or JSON file, or a run's config.json.")]
Settings = Annotated[list[str] | None, _run("--set", help="KEY=VALUE, one setting; may be repeated.")]
Smoke = Annotated[bool, _run("--smoke", help="Train for two epochs of two small steps, as a check.")]
DryRun = Annotated[bool, _run("--dry-run", help="Print settings, size, cost and time from three steps; write nothing.")]
Out = Annotated[Path | None, _run(help="New folder for the run.", show_default="runs/MODEL-DATA-NUMBER")]
Resume = Annotated[
    bool, _run("--resume", help="Resume the run in --out with its own settings; start it if there is none.")
]
Seed = Annotated[int | None, _run(help="Random seed.", show_default="0")]
Deterministic = Annotated[bool, _run("--deterministic", help="Use deterministic operations (slower).")]
CheckpointSteps = Annotated[int, _run(min=1, help="Steps between checkpoints; each epoch ends with one.")]
KeepCheckpoints = Annotated[int, _run(min=1, help="Checkpoints to keep.")]
Tensorboard = Annotated[bool, _run("--tensorboard", help="Same as --logger tensorboard.")]
Logger = Annotated[
    list[str] | None, _run(help="tensorboard, csv, mlflow or wandb; may be repeated.", show_default="csv")
]
Callback = Annotated[
    list[str] | None,
    _run(help="MODULE:FUNCTION that makes a Keras callback from a configuration and a run folder; may be repeated."),
]

Devices = Annotated[
    str | None, _processes(help="A number, all, gpu:0,gpu:1, or cpu:2 for two virtual CPUs.", show_default="one")
]
Threads = Annotated[
    int | None,
    _processes(min=1, help="CPU threads per operation.", show_default="one for little work, else all cores"),
]
Coordinator = Annotated[
    str | None,
    _processes(help="HOST:PORT of process 0, with several processes on JAX; auto under SLURM or Kubernetes."),
]
NumProcesses = Annotated[int | None, _processes(help="Number of processes that train together.")]
ProcessId = Annotated[int | None, _processes(help="Index of this process, from 0.")]
ConnectTimeout = Annotated[int, _processes(min=1, help="Seconds to wait for the other processes.")]
