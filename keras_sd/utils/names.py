"""Names in tables: short forms, and one form of error for a name that is unknown."""

import difflib
from collections.abc import Iterable
from typing import Any

from keras_sd.utils.checks import refusal

SHORT_DATA = {"svhn": "svhn_cropped", "imagenet": "imagenet2012"}


def data_name(name: str) -> str:
    """Return the full name of a data set, as runs record it."""
    return SHORT_DATA.get(name, name)


def unknown(argument: str, value: Any, allowed: Iterable) -> Exception:
    """A `ValueError` for an unknown name, with the nearest of the names there are.

    Args:
        argument: String, the argument's name.
        value: What came.
        allowed: Names that are allowed.

    Returns:
        A `ValueError` to raise.
    """
    names = [str(name) for name in allowed]
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return refusal(argument, f"a known name, such as {' or '.join(by_lower[name] for name in near)}", value)
    return refusal(argument, f"one of {', '.join(names)}", value)
