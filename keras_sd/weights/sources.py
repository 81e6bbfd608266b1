"""What a caller may write as `weights=`: a tag, a repository of the hub, a file, a directory with one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_sd.weights.cache import fetch
from keras_sd.weights.readers import SUFFIXES
from keras_sd.weights.registry import WEIGHTS, Preprocessing, WeightsRow, find

_FILE = "model.safetensors"


@dataclass(frozen=True)
class Source:
    """Where weights come from: a row of published weights, or a file that is here."""

    row: WeightsRow | None = None
    file: Path | None = None

    def path(self) -> Path:
        """The file, fetched and verified if it is a published one."""
        return self.file if self.row is None else fetch(self.row)


def resolve(architecture: str, weights: str | os.PathLike, include_top: bool = True) -> Source:
    """Says what `weights=` means for a factory; nothing is fetched yet.

    Args:
        architecture: The factory's name, such as "ResNet50".
        weights: A tag of `find`, `"hf://owner/name"`, a file of a known kind, or a directory with `model.safetensors`.
        include_top: Whether the classifier is wanted.

    Returns:
        A `Source`.

    Raises:
        ValueError: If it is none of these; the message names the tags of this architecture.
    """
    text = os.fspath(weights) if isinstance(weights, str | os.PathLike) else weights
    if not isinstance(text, str):
        raise ValueError(f"`weights` must be None, a tag, 'hf://owner/name' or a path. Received: weights={weights!r}")
    if text.startswith("hf://"):
        return Source(_hub_row(architecture, text))
    path = Path(text).expanduser()
    if path.is_dir():
        path /= _FILE
    if text.lower().endswith(SUFFIXES) or path.is_file() or path.name == _FILE:
        if not path.is_file():
            raise ValueError(f"`weights` names a file that does not exist. Received: weights='{weights}'")
        return Source(file=path)
    return Source(find(architecture, text, include_top))


def _hub_row(architecture: str, address: str) -> WeightsRow:
    if not (found := re.fullmatch(r"hf://([\w.-]+)/([\w.-]+)", address)):
        raise ValueError(f"`weights` on the hub must be 'hf://owner/name'. Received: weights={address!r}")
    page = f"https://huggingface.co/{found[1]}/{found[2]}"
    url = f"{page}/resolve/main/{_FILE}"
    for row in WEIGHTS.values():
        if row.url == url and row.architecture == architecture:
            return row
    return WeightsRow(
        architecture=architecture,
        tag=f"{found[1]}--{found[2]}",
        url=url,
        sha256=None,
        licence="as its page says",
        source=page,
        layout="timm",
        preprocessing=Preprocessing(),
    )


def required_arguments(row: WeightsRow, given: Mapping[str, object]) -> dict[str, object]:
    """The factory's arguments that published weights need.

    Args:
        row: The row.
        given: The arguments that the caller wrote.

    Returns:
        The arguments to add to those given.

    Raises:
        ValueError: If a given argument contradicts the weights.
    """
    for name, needed in row.arguments.items():
        if name in given and given[name] != needed:
            raise ValueError(
                f"`{name}` must be {needed!r} for the weights {row.name}. Received: {name}={given[name]!r}"
            )
    schedule = given.get("survival_schedule", "linear")
    stochastic = given.get("survival_probability", 1.0) != 1.0 or not isinstance(schedule, str)
    if stochastic and given.get("scaling", "inference") != "training":
        raise ValueError(
            f'`scaling` must be "training" for stochastic depth upon the weights {row.name}: they were trained at '
            'constant depth, and scaling="inference" would weaken every branch of the trained network by its survival '
            f"probability. Received: scaling={given.get('scaling', 'inference')!r}"
        )
    return dict(row.arguments)
