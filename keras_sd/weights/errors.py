"""The exception of this package, and the phrases shared by all messages about a file."""

from __future__ import annotations

from pathlib import Path

from keras_sd.utils.checks import one_line

_SHOWN = 300  # characters of file content in a message
_LONGEST = 8000  # characters of a message: a path may have 4,096


class WeightsError(ValueError):
    """Weights that cannot be used: the message names the file, what was found and what was expected.

    The message is one printable line, whatever names the file contains.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message, _LONGEST))


def describe_head(head: bytes) -> str:
    """Describe the first bytes of a file, for a message about an unusable file."""
    text = head[:512].lstrip().lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (HTML), probably an error page that was saved instead of the file"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file it stands for"
    return f"a file that starts with the bytes {head[:8].hex(' ')}"


def unreadable(path: Path, found: str, expected: str) -> WeightsError:
    """Return the error for a file that is not a complete, well-formed file of its format."""
    found, expected = one_line(found, _SHOWN), one_line(expected, _SHOWN)
    return WeightsError(f"Cannot read weights from '{path}': found {found}; expected {expected}.")
