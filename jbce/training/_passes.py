"""Going on: some epochs of data in memory at once, or some batches of data in files."""

from typing import Any

import jax
import numpy as np

from ._checkpoints import Position
from ._data import Data
from ._files import Files
from ._loop import History, Recipe, State, constrained, order_of, run_epochs, step, validated

# Training stops to look at the loss, and to show it, about this many times.
NUM_PARTS = 100
# So many batches of files go by between two looks.
_BATCHES = 64


class InMemory:
    """Epochs in one compiled function.

    `go_on` makes some steps more, and adds a row to `position.rows` per epoch done; `place` is
    which epoch, and which batch of it, a step is; `batch` its examples and their numbers; `name` an
    example in words. So it is with `Streamed`.
    """

    def __init__(
        self, recipe: Recipe, key: Any, data: Data, validation: Data | None, num_epochs: int
    ):
        self.recipe, self.key, self.data, self.validation = recipe, key, data, validation
        self.num_epochs = num_epochs
        self.length = -(-num_epochs // NUM_PARTS)
        self.num_batches = -(-data.num_examples // recipe.batch_size)

    def go_on(self, state: State, position: Position) -> tuple[State, Position]:
        state, history, done = _jitted_run_epochs(
            self.recipe,
            self.length,
            state,
            self.key,
            np.int32(position.epoch),
            np.int32(self.num_epochs),
            self.data,
            self.validation,
        )
        columns = [np.asarray(column)[: int(done)].tolist() for column in history]
        rows = [
            row_of(position.epoch + number, values)
            for number, values in enumerate(zip(*columns, strict=True), 1)
        ]
        return state, position._replace(epoch=position.epoch + int(done), rows=position.rows + rows)

    def place(self, step: int) -> tuple[int, int]:
        return divmod(step, self.num_batches)

    def batch(self, step: int) -> tuple[Data, np.ndarray]:
        epoch, number = self.place(step)
        indices = np.arange(self.data.num_examples)
        if self.num_batches > 1:
            order = np.asarray(order_of(self.key, epoch, self.data.num_examples))
            indices = order[number * self.recipe.batch_size :][: self.recipe.batch_size]
        return jax.tree.map(lambda leaf: leaf[indices], self.data), indices

    def name(self, example: int) -> str:
        return f"example {example}"


_jitted_run_epochs = jax.jit(run_epochs, static_argnums=(0, 1), donate_argnums=2)


class Streamed:
    """Batches that are read ahead while the steps run."""

    def __init__(
        self, recipe: Recipe, key: Any, files: Files, validation: Data | None, num_epochs: int
    ):
        self.recipe, self.files, self.validation = recipe, files, validation
        self.num_epochs = num_epochs
        self.seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        self.reading: Any = None
        self.next: tuple[int, int] | None = None

    def go_on(self, state: State, position: Position) -> tuple[State, Position]:
        epoch, batch, rows, sums = position
        num_batches = self.files.num_batches(self.seed, epoch, self.recipe.batch_size)
        if self.next != (epoch, batch):
            self.reading = self.files.batches(self.seed, epoch, self.recipe.batch_size, batch)
        told = []
        for number in range(batch, min(batch + _BATCHES, num_batches)):
            data, indices = next(self.reading)
            step_number = np.int32(epoch * num_batches + number)
            state, report = _jitted_step(self.recipe, state, data, step_number, indices)
            told.append(report)
        for loss, penalty, weight in jax.device_get(told):
            weight = float(weight)
            more = (float(loss) * weight if weight else 0.0, weight, float(penalty))
            sums = [a + b for a, b in zip(sums, more, strict=True)]
        batch += len(told)
        if batch == num_batches or int(state.trouble.step) >= 0:
            score: Any = np.nan
            if self.validation is not None:
                state, score = _jitted_validated(
                    self.recipe, state, np.int32(epoch + 1), self.validation
                )
            mean = sums[0] / sums[1] if sums[1] else 0.0
            values = (np.float32(mean), np.float32(sums[2] / max(batch, 1)), score)
            epoch, batch, sums = epoch + 1, 0, [0.0, 0.0, 0.0]
            rows = [*rows, row_of(epoch, tuple(map(float, values)))]
        self.next = (epoch, batch) if batch else None
        return state, Position(epoch, batch, rows, sums)

    def place(self, step: int) -> tuple[int, int]:
        # As many batches in every epoch: files are cut into windows of their own.
        return divmod(step, self.files.num_batches(self.seed, 0, self.recipe.batch_size))

    def batch(self, step: int) -> tuple[Data, np.ndarray]:
        epoch, number = self.place(step)
        return next(self.files.batches(self.seed, epoch, self.recipe.batch_size, number))

    def name(self, example: int) -> str:
        return self.files.name(example)


Passes = InMemory | Streamed


def _step(recipe: Recipe, state: State, data: Data, number: Any, indices: Any) -> Any:
    return step(recipe, state, constrained(recipe, data), number, indices)


_jitted_step = jax.jit(_step, static_argnums=0, donate_argnums=1)
_jitted_validated = jax.jit(validated, static_argnums=0, donate_argnums=1)


def row_of(epoch: int, values: tuple[float, ...]) -> dict[str, Any]:
    """A row of the history."""
    return {"epoch": epoch, **dict(zip(History._fields, values, strict=True))}
