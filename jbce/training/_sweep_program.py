"""The compiled program of a sweep's architecture, vmapped over seeds and settings."""

import collections
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._data import Data
from ._extra import extra
from ._leaves import numbers_of
from ._loop import (
    Loss,
    Penalty,
    Recipe,
    Score,
    default_loss,
    initial_state,
    logits_of,
    mean_of,
    run_epochs,
)
from ._sweep_settings import Setting, same

with extra():
    import optax
    from flax import nnx


class Trial(NamedTuple):
    """What a setting is made into: a model, and how it is to learn."""

    model: nnx.Module
    optimizer: optax.GradientTransformation
    loss: Loss | None = None
    penalty: Penalty | None = None


class Plan(NamedTuple):
    """What a program is compiled for, besides the shapes."""

    make: Callable[..., Trial]
    static: Setting
    epochs: int
    batch_size: int
    patience: int | None
    score: Score | None


# By plan and shapes: the programs of the last sweeps, which sweeps of the same `make` use again.
_PROGRAMS: collections.OrderedDict[Any, Any] = collections.OrderedDict()
_MOST_PROGRAMS = 32
_PROGRAMS_LOCK = threading.Lock()


def compiled(plan: Plan, arguments: tuple[Any, ...]) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple(
        (leaf.shape, str(leaf.dtype), getattr(leaf, "sharding", None)) for leaf in leaves
    )
    config: Any = jax.config
    settings = (config.jax_default_matmul_precision, config.jax_default_prng_impl)
    which = (plan._replace(static=same(plan.static)), structure, shapes, settings)  # pyright: ignore[reportArgumentType]
    with _PROGRAMS_LOCK:
        if which not in _PROGRAMS:
            _PROGRAMS[which] = jax.jit(partial(trained, plan)).lower(*arguments).compile()
            while len(_PROGRAMS) > _MOST_PROGRAMS:
                _PROGRAMS.popitem(last=False)
        _PROGRAMS.move_to_end(which)
        return _PROGRAMS[which]


def made(make: Callable[..., Trial], setting: Setting, rngs: nnx.Rngs) -> Trial:
    made = make(rngs, **setting)
    if not isinstance(made, Trial):
        raise TypeError(f"`make` must return a Trial, but a {type(made).__name__} came.")
    return made


def trained(
    plan: Plan,
    key: jax.Array,
    seeds: jax.Array,
    traced: dict[str, jax.Array],
    held: Data,
    judged: Data,
) -> dict[str, jax.Array]:
    """What training leaves, [seeds, settings, ..]."""

    def one(seed: jax.Array, values: dict[str, jax.Array]) -> dict[str, jax.Array]:
        order = jax.random.fold_in(key, seed)
        recipe, params, rest = begun(plan, order, values, judged)
        state = initial_state(recipe, params, rest)
        awaited = None if plan.patience is None else judged
        state, history, done = run_epochs(
            recipe, plan.epochs, state, order, 0, plan.epochs, held, awaited
        )
        params, rest, best_epoch = *state[:2], done
        if state.best is not None:
            there_is = state.best.epoch > 0  # a score that is never finite has no best one
            params, rest, best_epoch = jax.tree.map(
                lambda best, last: jnp.where(there_is, best, last),
                (*state.best[:2], state.best.epoch),
                (params, rest, done),
            )
        logits = logits_of(recipe.evaluating, params, rest, judged.features, plan.batch_size)
        leaves = [numbers_of(leaf) for leaf in jax.tree.leaves((params, rest))]
        return {
            **{f"model.{number}": leaf for number, leaf in enumerate(leaves)},
            "loss": history.loss,
            "epochs": done,
            "best_epoch": best_epoch,
            "diverged": state.trouble.step >= 0,
            "logits": logits,
        }

    over_settings = jax.vmap(one, (None, 0), axis_size=None if traced else 1)
    return jax.vmap(over_settings, (0, None))(seeds, traced)


def begun(
    plan: Plan, order: jax.Array, values: dict[str, jax.Array], judged: Data
) -> tuple[Recipe, Any, Any]:
    """How a trial learns, and its model before it has: the parameters, and the rest."""
    init, noise = jax.random.split(jax.random.fold_in(order, 0))
    trial = made(plan.make, plan.static | values, nnx.Rngs(params=init, default=noise))
    loss = trial.loss or default_loss
    labels = jnp.asarray(judged.labels)
    hard = labels.dtype == jnp.bool_ or jnp.issubdtype(labels.dtype, jnp.integer)
    trial.model.train()
    graphdef, params, rest = nnx.split(trial.model, nnx.Param, ...)
    trial.model.eval()
    recipe = Recipe(
        graphdef,
        nnx.graphdef(trial.model),
        trial.optimizer,
        loss,
        trial.penalty,
        plan.score or mean_of(default_loss if hard else loss),
        plan.batch_size,
        patience=plan.patience,
    )
    return recipe, params, rest
