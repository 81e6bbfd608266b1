"""Resolve the argument `weights=`: a tag, a repository on the hub, a file, or a directory with one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

from keras_sd.utils.checks import refusal
from keras_sd.weights.cache import fetch
from keras_sd.weights.exported_folder import CONFIG, MODEL, read_folder
from keras_sd.weights.formats.readers import SUFFIXES, WeightsFile, read
from keras_sd.weights.hub import hosted
from keras_sd.weights.layouts import layout_of
from keras_sd.weights.registry import WEIGHTS, Preprocessing, WeightsRow, find, published_arguments
from keras_sd.weights.semantics import STRIDED, is_of_save, of_file, read_preprocessing

_BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """The source of weights.

    Attributes:
        row: Row of the weights; None for a file about which nothing is known.
        file: A local file; None for the row's file, in the cache.
        content: Content of the file, if it has been read.
    """

    row: WeightsRow | None = None
    file: Path | None = None
    content: WeightsFile | None = None

    def path(self) -> Path:
        """Return the path of the file; a published file that is not local is downloaded and verified."""
        if self.file is not None:
            return self.file
        assert self.row is not None  # at least one of the two is set
        return fetch(self.row.published)

    def read(self) -> WeightsFile:
        """Return the content of the file, which is downloaded first if necessary."""
        return read(self.path()) if self.content is None else self.content

    def preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing of images for the weights, from their row or their file; None if not known.

        Raises:
            WeightsError: If there is no row, and the file cannot be read or is damaged.
        """
        return self.row.preprocessing if self.row is not None else read_preprocessing(self.read())


def resolve(architecture: str, weights: str | os.PathLike | WeightsFile, include_top: bool = True) -> Source:
    """Resolve the argument `weights=` of a factory, without downloading anything.

    Args:
        architecture: The factory's name, such as "ResNet50".
        weights: A tag of `find`, `"hf://owner/name"`, a file of a known kind, a directory written by `keras-sd
            export`, or a result of `read`. Published files are recognized by their hash: a file that is published for
            this architecture has its published row, whatever the file name.
        include_top: Whether the classifier is wanted.

    Returns:
        A `Source`.

    Raises:
        ValueError: If `weights` is none of these; the message lists the tags of this architecture.
    """
    if isinstance(weights, WeightsFile):
        return Source(identify(architecture, weights.path), weights.path, weights)
    text = os.fspath(weights) if isinstance(weights, str | os.PathLike) else weights
    if not isinstance(text, str):
        raise refusal("weights", "None, a tag, 'hf://owner/name' or a path", weights)
    if text.startswith("hf://"):
        return Source(_hub_row(architecture, text))
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(architecture, path)
    if text.lower().endswith(SUFFIXES) or path.is_file():
        if not path.is_file():
            raise refusal("weights", "a file that exists", text)
        return Source(identify(architecture, path), path)
    return Source(find(architecture, text, include_top))


def _folder(architecture: str, path: Path) -> Source:
    if not (path / MODEL).is_file():
        raise refusal("weights", f"a directory that contains {MODEL}, as written by `keras-sd export`", str(path))
    if not (path / CONFIG).is_file():
        return Source(None, path / MODEL)
    row = read_folder(path)
    if row.architecture != architecture:
        allowed = f"weights of {architecture}, not of {row.architecture}; use {row.architecture}(weights=...)"
        raise refusal("weights", allowed, str(path))
    return Source(row, path / MODEL)


def identify(architecture: str, path: Path) -> WeightsRow | None:
    """Return the row of a published file, recognized by its hash; None if the file is not a published one."""
    rows = [row for row in WEIGHTS.values() if row.architecture == architecture]
    rows = [row for row in rows if row.published.size in (None, path.stat().st_size) and row.published.digest]
    if not rows:
        return None
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with open(path, "rb") as file:
        while batch := file.read(_BATCH_BYTES):
            for digest in found.values():
                digest.update(batch)
    for row in rows:
        algorithm, published = cast(tuple, row.published.digest)
        if found[algorithm].hexdigest().startswith(published):  # some publish only the first digits
            return row
    return None


def _hub_row(architecture: str, address: str) -> WeightsRow:
    if not (found := re.fullmatch(r"hf://([\w.-]+)/([\w.-]+)", address)):
        raise refusal("weights", "'hf://owner/name' for weights on the hub", address)
    page = f"https://huggingface.co/{found[1]}/{found[2]}"
    tag = f"{found[1]}--{found[2]}"
    file = hosted(page, f"{architecture}.{tag}")
    for row in WEIGHTS.values():
        if row.published.url == file.url and row.architecture == architecture:
            return row
    # ImageNet networks on the hub have timm's form; nothing is known about other networks.
    of_timm = any(row.architecture == architecture and row.layout == "timm" for row in WEIGHTS.values())
    return WeightsRow(
        architecture=architecture,
        tag=tag,
        file=file,
        license="as its page says",
        source=page,
        layout="timm",
        preprocessing=None,
        arguments=published_arguments("timm", architecture) if of_timm else {},
    )


def required_arguments(
    row: WeightsRow, given: Mapping[str, object], fixed: Mapping[str, object] = MappingProxyType({})
) -> dict[str, object]:
    """Return the factory arguments that published weights need.

    Args:
        row: The row.
        given: The arguments given by the caller.
        fixed: Further arguments that must have these values if given.

    Returns:
        The arguments to add to those given.

    Raises:
        ValueError: If given arguments contradict the weights; all of them are listed.
    """
    _check_given({**fixed, **row.arguments}, given, row.name)
    schedule = given.get("survival_schedule", "linear")
    stochastic = given.get("survival_probability", 1.0) != 1.0 or not isinstance(schedule, str)
    constant = "survival_probability" not in row.arguments
    if constant and stochastic and given.get("scaling", "inference") != "training":
        allowed = (
            f'"training" for stochastic depth with the weights {row.name}: they were trained at constant depth, and '
            'scaling="inference" would scale down every branch of the trained network by its survival probability'
        )
        raise refusal("scaling", allowed, given.get("scaling", "inference"))
    return dict(row.arguments)


def implied_arguments(file: WeightsFile, given: Mapping[str, object], accepted: Iterable[str]) -> dict[str, object]:
    """Return the factory arguments that an unpublished file implies through its layout and names.

    Args:
        file: The file.
        given: The arguments given by the caller.
        accepted: Names of the arguments that the factory accepts.

    Returns:
        The arguments to add to those given. `epsilon`, which no file stores, is that of the layout's usual networks
        unless it is given.

    Raises:
        ValueError: If given arguments contradict the file; all of them are listed.
    """
    layout = layout_of(file)
    if layout is None:
        return {}  # a model with its own configuration, or a file without the information
    implied = layout.arguments_of(file)
    written = {name.rpartition("/")[2]: value for name, value in of_file(file, {}).items()}  # the same in all blocks
    needed = {
        "use_bias": implied.get("use_bias"),
        "stride_in": dict(zip(STRIDED.values(), STRIDED)).get(str(written.get("strided")), implied.get("stride_in")),
        "shortcut": written.get("shortcut", implied.get("shortcut")),
    }
    needed = {name: value for name, value in needed.items() if name in accepted and value is not None}
    _check_given(needed, given, f"in '{file.path}'")
    if "epsilon" in accepted and "epsilon" not in given and not is_of_save(file):
        needed["epsilon"] = implied["epsilon"]
    return needed


def _check_given(needed: Mapping[str, object], given: Mapping[str, object], weights: str) -> None:
    wrong = [name for name, value in needed.items() if name in given and _plain(given[name]) != value]
    if wrong:
        raise ValueError(
            f"{' and '.join(f'`{name}` must be {needed[name]!r}' for name in wrong)} for the weights {weights}. "
            f"Received: {', '.join(f'{name}={given[name]!r}' for name in wrong)}"
        )


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
