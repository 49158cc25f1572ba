"""What to say when a loss is no longer finite."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._loop import Recipe, State, step


class DivergenceError(FloatingPointError):
    """The loss of an example, or the gradient, is not finite; what there is until then is kept.

    Attributes:
        result: the model before the step that failed, and the history up to and with its epoch.
        step: the number of that step, from 0.
        example: the number of the first example, in the data, whose loss or gradient is not
            finite; None if only their sum is not.
    """

    def __init__(self, message: str, result: Any, *, step: int, example: int | None):
        super().__init__(message)
        self.result, self.step, self.example = result, step, example


def explained(
    recipe: Recipe, passes: Any, state: State, number: int, example: int
) -> tuple[int, str, int | None]:
    """The epoch of a step that was not taken, what went wrong in words, and with which example."""
    epoch, _ = passes.place(number)
    if example >= 0:
        return epoch, f"The loss of {passes.name(example)} is not finite", example
    data, indices = passes.batch(number)
    wrong = np.asarray(_wrong_gradients(recipe, state, data))
    if wrong.any() and (len(wrong) == 1 or not wrong.all()):
        example = int(indices[wrong.argmax()])
        said = f"The loss of {passes.name(example)} is finite, but its gradient is not"
        return epoch, said, example
    return epoch, "The loss, or the update of the parameters, of a whole batch is not finite", None


@partial(jax.jit, static_argnums=0)
def _wrong_gradients(recipe: Recipe, state: State, data: Any) -> jax.Array:
    """Which examples have a gradient that is not finite, each in a batch of its own."""
    alone = recipe._replace(batch_size=1, accumulate=1, sharding=None)
    calm = state._replace(
        trouble=jax.tree.map(lambda number: jnp.full_like(number, -1), state.trouble)
    )

    def wrong(one: Any) -> jax.Array:
        batch = jax.tree.map(lambda leaf: leaf[None], one)
        after, _ = step(alone, calm, batch, jnp.zeros([], jnp.int32), jnp.zeros([1], jnp.int32))
        return after.trouble.step >= 0

    return jax.lax.map(wrong, data)
