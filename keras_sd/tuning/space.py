"""Hyperparameters: a table of important ones, and the search space that a hypermodel's arguments make from it."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import keras_tuner

from keras_sd.utils.checks import refusal
from keras_sd.utils.names import unknown


@dataclasses.dataclass(frozen=True)
class Row:
    """An important hyperparameter.

    Args:
        name: Name of a field of `TrainConfig` or of a spec, or of an argument of a model's constructor.
        values: As in an argument of a hypermodel: a tuple is a range, a list has choices.
        models: Names of the model families that have it.
        is_on: Boolean, whether it is searched by default.
        step: Number, difference between adjacent values of a range; `None` for all values.
        sampling: "linear" or "log".
        only_if: Pair of another hyperparameter's name and its values for which this one is active.
    """

    name: str
    values: tuple | list
    models: tuple[str, ...] = ("ResNet", "DenseNet")
    is_on: bool = False
    step: float | None = None
    sampling: str = "linear"
    only_if: tuple[str, tuple] | None = None


# Ranges of the papers' own studies: Huang et al. 2016, figure 8, tried final survival probabilities from 0 to 1, and
# those of 0.4 or more helped; Huang et al. 2017, table 2, have growth rates from 12 to 40.
ROWS = (
    Row("survival_probability", (0.3, 1.0), is_on=True),
    Row("survival_schedule", ["linear", "uniform"]),
    Row("granularity", ["batch", "sample"]),
    Row("depth", (20, 56), ("ResNet",), step=6),
    Row("depth", (16, 40), ("DenseNet",), step=6),
    Row("growth_rate", (8, 24), ("DenseNet",), is_on=True),
    Row("bottleneck", [True, False], ("DenseNet",)),
    Row("bottleneck_width", [2, 4], ("DenseNet",), only_if=("bottleneck", (True,))),
    Row("compression", (0.4, 1.0), ("DenseNet",)),
    Row("dropout_rate", (0.0, 0.4), ("DenseNet",)),
    Row("learning_rate", (0.02, 0.5), sampling="log"),
    Row("l2", (1e-5, 1e-3), sampling="log"),
    Row("batch_size", [32, 64, 128]),
    Row("survival_warmup", (0.0, 0.5)),
)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A hyperparameter that is searched: `choices`, or a range from `low` to `high`, both included.

    Args:
        name: Name of the hyperparameter.
        choices: Tuple of values, `()` for a range.
        low, high, step: Numbers, for a range.
        sampling: "linear" or "log", for a range.
        only_if: Same as in `Row`.
    """

    name: str
    choices: tuple = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    sampling: str = "linear"
    only_if: tuple[str, tuple] | None = None

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def _codes(self):
        """Choices in a form that KerasTuner supports: numbers of one kind, strings, or else their representations."""
        kinds = {type(choice) for choice in self.choices}
        return self.choices if len(kinds) == 1 and kinds <= {int, float, str} else tuple(map(repr, self.choices))

    def declare(self, hp: keras_tuner.HyperParameters, default: Any, others: Mapping[str, "Tuned"]) -> Any:
        """Declare the hyperparameter in a `keras_tuner.HyperParameters`.

        Args:
            hp: The hyperparameters.
            default: Default value; replaced by another if it is not allowed.
            others: Dictionary from names to all `Tuned`, including the one in this one's condition.

        Returns:
            The value in `hp`; `None` if the hyperparameter is inactive.
        """
        parent = {}
        if self.only_if is not None:
            name, values = self.only_if
            codes = [others[name].encode(value) for value in values if value in others[name].choices]
            parent = {"parent_name": name, "parent_values": codes}
        if self.choices:
            default = self.encode(default if default in self.choices else self.choices[0])
            return self.decode(hp.Choice(self.name, list(self._codes), default=default, **parent))
        place = {"step": self.step, "sampling": self.sampling, "default": self._nearest(default)}
        return (hp.Int if self.is_integer else hp.Float)(self.name, self.low, self.high, **place, **parent)

    def encode(self, choice: Any) -> int | float | str:
        """Return the value that KerasTuner stores for a choice."""
        return self._codes[self.choices.index(choice)]

    def decode(self, code: Any) -> Any:
        """Return the choice for a value stored by KerasTuner."""
        return self.choices[self._codes.index(code)] if self.choices and code is not None else code

    def _nearest(self, default):
        if not isinstance(default, int | float) or not self.low <= default <= self.high:
            return self.low
        if self.step is not None and (default - self.low) % self.step:
            return self.low
        return default

    def values(self, number: int = 2) -> list:
        """Return all choices, or `number` evenly spaced values of a range, including both ends."""
        if self.choices:
            return list(self.choices)
        fractions = [i / (number - 1) for i in range(number)]
        if self.sampling == "log":
            found = [self.low * (self.high / self.low) ** fraction for fraction in fractions]
        else:
            found = [self.low + fraction * (self.high - self.low) for fraction in fractions]
        if self.is_integer or self.step is not None:
            step = self.step or 1
            found = [self.low + step * round((value - self.low) / step) for value in found]
            found = [value for value in found if value <= self.high]
        return list(dict.fromkeys(float(f"{value:.6g}") if not self.is_integer else value for value in found))

    def __str__(self):
        if self.choices:
            return " | ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}{' (log)' if self.sampling == 'log' else ''}"


def resolve(arguments: dict[str, Any], model: str, allowed: Collection[str]) -> tuple[dict[str, Any], dict[str, Tuned]]:
    """Divide the arguments of a hypermodel into fixed values and searched hyperparameters.

    Args:
        arguments: Dictionary from names to values: a tuple of two numbers is a range; a list has choices; `True` or
            `False` switches a row of the table on or off; any other value is fixed.
        model: "ResNet" or "DenseNet".
        allowed: Names that may be hyperparameters.

    Returns:
        A pair: a dictionary of fixed values, and one of `Tuned`.

    Raises:
        ValueError: If a name is unknown, bounds are reversed, or there are no choices or nothing to search.
    """
    rows = {row.name: row for row in ROWS if model in row.models and row.name in allowed}
    for name in arguments:
        if name not in allowed:
            raise unknown("hyperparameter", name, sorted(allowed))
    fixed, tuned = {}, {}
    for name in dict.fromkeys([*rows, *arguments]):
        row = rows.get(name)
        value = arguments.get(name, row.is_on if row else None)
        if isinstance(value, bool) and row is not None and not (name in arguments and True in _choices(row)):
            if not value:
                continue
            value = row.values
        if isinstance(value, tuple | list):
            one = _tuned(name, value, row)
            if one is None:
                fixed[name] = value[0]
            else:
                tuned[name] = one
        else:
            fixed[name] = value
    tuned = {name: one for name, tuned_one in tuned.items() if (one := _conditional(tuned_one, fixed, tuned))}
    if not tuned:
        allowed = "ranges (low, high) or lists of choices, at least one: this leaves nothing to search"
        raise refusal("hyperparameters", allowed, arguments)
    return fixed, tuned


def _choices(row):
    return row.values if isinstance(row.values, list) else ()


def _tuned(name, value, row):
    """Return a `Tuned`; `None` if there is only one value."""
    only_if = row.only_if if row else None
    if isinstance(value, list):
        choices = tuple(tuple(one) if isinstance(one, list) else one for one in value)
        if not choices:
            raise refusal(name, "at least one choice", value)
        if len(set(choices)) < len(choices):
            raise refusal(name, "choices that differ from each other", value)
        return Tuned(name, choices, only_if=only_if) if len(choices) > 1 else None
    numbers = [one for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(value) != 2 or len(numbers) != 2:
        raise refusal(name, "a range of two numbers (low, high), or a list of choices", value)
    low, high = value
    if not low <= high:
        raise refusal(name, "a range in the order (low, high)", value)
    if low == high:
        return None
    if row is not None and isinstance(row.values, tuple) and any(isinstance(one, float) for one in row.values):
        low, high = float(low), float(high)
    sampling = row.sampling if row else "linear"
    if sampling == "log" and low <= 0:
        raise refusal(name, "a range above 0", value)
    return Tuned(name, (), low, high, row.step if row else None, sampling, only_if)


def _conditional(one, fixed, tuned):
    """Return a `Tuned`, without its condition if that is always true; `None` if it is never true."""
    if one.only_if is None:
        return one
    name, values = one.only_if
    if name in tuned:
        return one
    holds = name not in fixed or fixed[name] in values
    return dataclasses.replace(one, only_if=None) if holds else None
