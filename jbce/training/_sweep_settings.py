"""What the settings of a sweep are: which share a program, and which are the same."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ._checkpoints import digest_of, without_addresses
from ._leaves import numbers_of

Setting = dict[str, Any]
_ARRAYS = (np.generic, np.ndarray, jax.Array)
COLUMNS = {"seed", "epochs", "best_epoch", "diverged", "training_loss"}


class Program(NamedTuple):
    """Settings that differ in floating-point numbers only, which one program trains."""

    static: Setting
    numbers: list[int]  # of the settings, in the order of all


def settings_of(
    settings: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]], judges: set[str]
) -> list[Setting]:
    """The settings one by one, checked."""
    if isinstance(settings, Mapping):
        for name, values in settings.items():
            if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
                raise TypeError(f"`settings` {name!r} must be a list of values, not {values!r}.")
        rows = [
            dict(zip(settings, values, strict=True))
            for values in itertools.product(*(list(column) for column in settings.values()))
        ]
    else:
        rows = [dict(row) for row in settings]
    if not rows:
        raise ValueError("`settings` must hold at least one, but there is none.")
    for name in rows[0]:
        if name in COLUMNS or name.split(".")[0] in judges:
            raise ValueError(f"A setting cannot be called {name!r}: the tables use it.")
    for row in rows:
        if row.keys() != rows[0].keys():
            raise ValueError(
                f"All settings must have the same names, but {sorted(rows[0])} and {sorted(row)} "
                "came."
            )
    rows = [{name: _python(value) for name, value in row.items()} for row in rows]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not _within_float32(value):
                raise ValueError(
                    f"`settings` {name!r} must be numbers within float32, but {value} came."
                )
    return rows


def _within_float32(value: float) -> bool:
    smallest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    return value == 0 or smallest <= abs(value) <= largest or abs(value) == np.inf


def _python(value: Any) -> Any:
    """A scalar of numpy or jax as Python's."""
    return value.item() if isinstance(value, _ARRAYS) and value.ndim == 0 else value


def programs(rows: list[Setting]) -> list[Program]:
    """The settings, by what cannot be traced."""
    traced = {name for name in rows[0] if all(isinstance(row[name], float) for row in rows)}
    groups: dict[Any, Program] = {}
    for number, row in enumerate(rows):
        static = {name: value for name, value in row.items() if name not in traced}
        which = (same(static), None if traced else number)  # without a number to batch, each alone
        groups.setdefault(which, Program(static, [])).numbers.append(number)
    return [*groups.values()]


class _Itself:
    """A value that can only be told from others by being another."""

    def __init__(self, value: Any):
        self.value = value  # held, so that no other comes to its address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def same(value: Any) -> Any:
    """What is equal, and hashable, where settings are the same: by kind and by every number."""
    if isinstance(value, dict):
        return (dict, *((name, same(part)) for name, part in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), *map(same, value))
    if isinstance(value, (np.ndarray, jax.Array)):
        return (type(value), digest_of([numbers_of(value)]))
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return (type(value), value)


def said(value: Any) -> str:
    """A setting in words that another process says, too, and that tell it from others."""
    if isinstance(value, (np.ndarray, jax.Array)):
        return f"array {digest_of([numbers_of(value)])}"
    return without_addresses(repr(value))
