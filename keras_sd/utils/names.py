"""Names in tables: short forms, and errors for unknown names."""

import difflib
from collections.abc import Iterable
from typing import Any

from keras_sd.utils.checks import refusal

SHORT_DATA = {"svhn": "svhn_cropped", "imagenet": "imagenet2012"}

_DROP = "survival_probability, which is 1 - the rate"
# Names in other libraries, and what the same thing is called here.
_ELSEWHERE = {
    "drop_path": _DROP,
    "drop_path_rate": _DROP,
    "drop_connect_rate": _DROP,
    "stochastic_depth_prob": _DROP,
    "weight_decay": "l2",
    "lr": "learning_rate",
    "sched": "learning_rate_schedule",
    "lr_schedule": "learning_rate_schedule",
    "schedule": "survival_schedule or learning_rate_schedule",
    "opt": "optimizer",
    "smoothing": "label_smoothing",
    "ema": "ema_momentum",
    "model_ema_decay": "ema_momentum",
    "aa": "augmentation",
    "img_size": "image_size",
    "num_classes": "classes",
    "drop_rate": "dropout_rate",
    "pretrained": "weights",
    "finetune": "weights",
}


def here(name: str) -> str | None:
    """Return the name used here for a name of other libraries; `None` if not known."""
    return _ELSEWHERE.get(name.strip("-").replace("-", "_"))


def data_name(name: str) -> str:
    """Return the full name of a data set, as runs record it."""
    return SHORT_DATA.get(name, name)


def unknown(argument: str, value: Any, allowed: Iterable) -> Exception:
    """Return a `ValueError` for an unknown name, with the most similar allowed names.

    Args:
        argument: String, the argument's name.
        value: The received name.
        allowed: Names that are allowed.

    Returns:
        A `ValueError` to raise.
    """
    names = [str(name) for name in allowed]
    if (own := here(str(value))) and own.partition(",")[0].split()[0] in names:
        return refusal(argument, f"a known name: {value} is called {own}", value)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return refusal(argument, f"a known name, such as {' or '.join(by_lower[name] for name in near)}", value)
    return refusal(argument, f"one of {', '.join(names)}", value)


def hint(name: str, known: Iterable[str]) -> str:
    """Return the name used here for an unknown name, or the most similar known one, as the end of a sentence."""
    if (own := here(name)) is not None:
        return f" (it is called {own})"
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
