"""The one exception of this package, and the phrases that every message about a file shares."""

from __future__ import annotations

from pathlib import Path


class WeightsError(ValueError):
    """Weights that cannot be used: the message names the file, what was found and what was expected."""


def describe_head(head: bytes) -> str:
    """Says what the first bytes of a file look like, for a message about an unfit file."""
    text = head[:512].lstrip().lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (HTML), probably an error page that was saved in place of the file"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file it stands for"
    return f"a file that starts with the bytes {head[:8].hex(' ')}"


def unreadable(path: Path, found: str, expected: str) -> WeightsError:
    """The error for a file that is not a whole, well-formed file of its format."""
    return WeightsError(f"Cannot read weights from '{path}': found {found}; expected {expected}.")
