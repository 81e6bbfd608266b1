"""Checks of arguments, and the common form of their errors.

Every message reads "`argument` must be <what is allowed>. Received: argument=<value>", as Keras's do.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

_SHOWN = 200  # characters of a value in a message


def refusal(argument: str, allowed: str, value: Any, error: type[Exception] = ValueError) -> Exception:
    """Return the error for an argument that is not allowed.

    Args:
        argument: String, the argument's name.
        allowed: String, what the argument must be.
        value: The received value; a long one is truncated in the message.
        error: Class of the exception: `ValueError`, or `TypeError` for a value of the wrong type.
    """
    return error(f"`{argument}` must be {allowed}. Received: {argument}={shown(value)}")


def shown(value: Any) -> str:
    """Return `repr(value)` as one printable line, truncated after 200 characters."""
    try:
        text = repr(value)
    except Exception:  # a foreign object, whose `repr` may fail
        text = f"an object of {type(value).__name__}"
    return one_line(text, _SHOWN)


def one_line(text: str, length: int) -> str:
    """Return a text as one printable line, truncated after a number of characters."""
    text = " ".join(text[: 4 * length].split())  # a text of megabytes takes no more time than its shown part
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= length else text[:length] + "..."


def check_choice(argument: str, value: Any, choices: Iterable) -> Any:
    """Return a value that is one of the choices, or raise a `ValueError`."""
    choices = tuple(choices)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise refusal(argument, f"one of {', '.join(map(repr, choices))}", value)
    return value


def check_integer(argument: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """Return a whole number within bounds (inclusive) as an `int`, or raise a `ValueError`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or value < minimum
        or (maximum is not None and int(value) > maximum)
    ):
        bounds = f"of at least {minimum:,}" if maximum is None else f"from {minimum:,} to {maximum:,}"
        raise refusal(argument, f"an integer {bounds}", value)
    return int(value)


def check_number(argument: str, value: Any, allowed: str, within: Callable[[float], bool]) -> float:
    """Return a finite real number that fulfills a condition as a `float`, or raise a `ValueError`.

    Args:
        argument: String, the argument's name.
        value: The received value.
        allowed: String, the condition in words: "a number in (0, 1]".
        within: Function of the number that returns whether it is allowed.
    """
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number) or not within(number):
        raise refusal(argument, allowed, value)
    return number


def check_flag(argument: str, value: Any) -> bool:
    """Return `True` or `False`, or raise a `ValueError`."""
    return check_choice(argument, value, (True, False))


def check_type(argument: str, value: Any, kinds: Any, allowed: str) -> Any:
    """Return a value that is an instance of one of some classes, or raise a `TypeError`.

    Args:
        argument: String, the argument's name.
        value: The received value.
        kinds: Class, or tuple of classes.
        allowed: String, what the value must be: "a Keras model".
    """
    if not isinstance(value, kinds):
        raise refusal(argument, allowed, value, TypeError)
    return value
