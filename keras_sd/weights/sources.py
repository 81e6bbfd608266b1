"""What a caller may write as `weights=`: a tag, a repository of the hub, a file, a directory with one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keras_sd.weights.cache import fetch
from keras_sd.weights.exported_folder import CONFIG, MODEL, read_folder
from keras_sd.weights.formats.readers import SUFFIXES
from keras_sd.weights.registry import WEIGHTS, WeightsRow, find, layout_arguments

_BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where weights come from.

    Attributes:
        row: What is known about them; None for a file of which nothing is known.
        file: The file, where it is here; None: the row's, in the cache.
    """

    row: WeightsRow | None = None
    file: Path | None = None

    def path(self) -> Path:
        """The file, fetched and verified if it is a published one that is not here."""
        return fetch(self.row) if self.file is None else self.file


def resolve(architecture: str, weights: str | os.PathLike, include_top: bool = True) -> Source:
    """Says what `weights=` means for a factory; nothing is fetched yet.

    Args:
        architecture: The factory's name, such as "ResNet50".
        weights: A tag of `find`, `"hf://owner/name"`, a file of a known kind, or a directory that `keras-sd
            export` wrote. A file is known by its hash: one that is published for this architecture has the row of
            the publication, whatever it is called.
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
        return _folder(architecture, path)
    if text.lower().endswith(SUFFIXES) or path.is_file():
        if not path.is_file():
            raise ValueError(f"`weights` names a file that does not exist. Received: weights='{weights}'")
        return Source(identify(architecture, path), path)
    return Source(find(architecture, text, include_top))


def _folder(architecture: str, path: Path) -> Source:
    if not (path / MODEL).is_file():
        raise ValueError(
            f"`weights` names a directory that holds no {MODEL}, which `keras-sd export` writes. "
            f"Received: weights='{path}'"
        )
    if not (path / CONFIG).is_file():
        return Source(None, path / MODEL)
    row = read_folder(path)
    if row.architecture != architecture:
        raise ValueError(
            f"`weights` names a directory with the weights of {row.architecture}, not of {architecture}: use "
            f"{row.architecture}(weights=...). Received: weights='{path}'"
        )
    return Source(row, path / MODEL)


def identify(architecture: str, path: Path) -> WeightsRow | None:
    """The row of the published file that a file is, by its hash; None where it is no published one."""
    rows = [row for row in WEIGHTS.values() if row.architecture == architecture]
    rows = [row for row in rows if row.size in (None, path.stat().st_size) and (row.sha256 or row.md5)]
    if not rows:
        return None
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while batch := file.read(_BATCH_BYTES):
            sha256.update(batch)
            md5.update(batch)
    for row in rows:
        found, published = (sha256, row.sha256) if row.sha256 else (md5, row.md5)
        if found.hexdigest().startswith(published):  # for some files only the hash's start is published
            return row
    return None


def _hub_row(architecture: str, address: str) -> WeightsRow:
    if not (found := re.fullmatch(r"hf://([\w.-]+)/([\w.-]+)", address)):
        raise ValueError(f"`weights` on the hub must be 'hf://owner/name'. Received: weights={address!r}")
    page = f"https://huggingface.co/{found[1]}/{found[2]}"
    url = f"{page}/resolve/main/{MODEL}"
    for row in WEIGHTS.values():
        if row.url == url and row.architecture == architecture:
            return row
    # Networks for ImageNet are there in the form of timm; of others nothing can be said.
    of_timm = any(row.architecture == architecture and row.layout == "timm" for row in WEIGHTS.values())
    return WeightsRow(
        architecture=architecture,
        tag=f"{found[1]}--{found[2]}",
        url=url,
        sha256=None,
        licence="as its page says",
        source=page,
        layout="timm",
        preprocessing=None,
        arguments=layout_arguments("timm", architecture) if of_timm else {},
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
        if name in given and _plain(given[name]) != needed:
            raise ValueError(
                f"`{name}` must be {needed!r} for the weights {row.name}. Received: {name}={given[name]!r}"
            )
    schedule = given.get("survival_schedule", "linear")
    stochastic = given.get("survival_probability", 1.0) != 1.0 or not isinstance(schedule, str)
    constant = "survival_probability" not in row.arguments
    if constant and stochastic and given.get("scaling", "inference") != "training":
        raise ValueError(
            f'`scaling` must be "training" for stochastic depth upon the weights {row.name}: they were trained at '
            'constant depth, and scaling="inference" would weaken every branch of the trained network by its survival '
            f"probability. Received: scaling={given.get('scaling', 'inference')!r}"
        )
    return dict(row.arguments)


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
