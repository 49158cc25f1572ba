"""How the trials of a sweep are cut into parts that run at once."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ._sweep_result import Outcome


class Part(NamedTuple):
    """Trials that run at once: some settings of one program, each with some seeds."""

    settings: list[int]
    seeds: list[int]
    shape: tuple[int, int]  # of seeds and settings, the last ones repeated to fill it

    @property
    def name(self) -> str:
        return f"{self.settings[0]}-{self.settings[-1]}-seeds-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def trials(self) -> Iterator[tuple[int, int]]:
        """Each by its setting and its seed."""
        return itertools.product(self.settings, self.seeds)

    def unpacked(self, found: dict[str, np.ndarray]) -> Iterator[tuple[int, int, Outcome]]:
        for (r, seed), (s, setting) in itertools.product(
            enumerate(self.seeds), enumerate(self.settings)
        ):
            yield setting, seed, {name: np.asarray(array[r, s]) for name, array in found.items()}


def shape_of(size: int, num_settings: int, num_seeds: int, num_devices: int) -> tuple[int, int]:
    """Seeds and settings of about so many trials: settings first, which share their batches.

    One of the two is a multiple of the number of devices, unless there are fewer trials; only where
    all trials were to fit are there more of them than `size`.
    """
    settings = min(size, num_settings)
    seeds = max(1, min(size // settings, num_seeds))
    if (seeds * settings) > num_devices > 1 and settings % num_devices and seeds % num_devices:
        if size >= num_settings * num_seeds:
            settings = -(-settings // num_devices) * num_devices
        elif settings > num_devices:
            settings = settings // num_devices * num_devices
        else:
            settings, seeds = num_devices, max(1, size // num_devices)
    return seeds, settings


def evenly(number: int, most: int) -> int:
    """The size of equal groups, of at most so many and as few as that allows."""
    return -(-number // -(-number // most))


def batched(values: list[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(values), size):
        yield values[first : first + size]


def filled(values: list[Any], size: int) -> list[Any]:
    return [*values, *[values[-1]] * (size - len(values))]
