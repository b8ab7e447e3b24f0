"""What one step of one network costs on this machine: nothing else is measured, and all take turns."""

import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.lab.folds import Parts
from jaxnn.lab.programs import compile_ahead
from jaxnn.lab.recipe import Built, Recipe
from jaxnn.training import train_step

ROUNDS = 7
STEPS = 2_000  # of a round, at most: so many that a call's own cost does not count


def step_seconds(
    networks: Mapping[str, tuple[Built, Recipe, float]], parts: Parts, order, key
) -> dict[str, np.ndarray]:
    """Seconds for one training step of one network alone, of several networks that take turns.

    Args:
      networks: by name the network, its resolved recipe and learning rate.
      parts: the rows.
      order: of the rows, (steps, batch), or None for all of them in every step.
      key: draws the weights.

    Returns:
      (ROUNDS,) seconds of each, ascending.
    """
    order = None if order is None else order[:STEPS]
    compiled = compile_ahead(networks, lambda name: _program(*networks[name], parts, order, key))
    with closing(compiled):
        programs = dict(compiled)
    rounds = [[_seconds(program) for program in programs.values()] for _ in range(ROUNDS + 1)]
    steps = STEPS if order is None else len(order)
    seconds = np.sort(np.array(rounds[1:]), axis=0) / steps  # the first is for warming up
    return dict(zip(programs, seconds.T, strict=True))


def _program(built, recipe, rate, parts, order, key):
    """Many steps of a network, compiled; a function without arguments."""
    optimizer = recipe.make_optimizer(learning_rate=rate)
    params = built.network.init(key)
    state, (x, y) = optimizer.init(params), jax.tree.map(jnp.asarray, parts.train)

    def steps(params, state, x, y, order):
        def step(carry, rows):
            batch = (x, y) if rows is None else jax.tree.map(lambda leaf: leaf[rows], (x, y))
            return train_step(built.network, built.head.loss, optimizer, *carry, *batch)[:2], None

        return lax.scan(step, (params, state), order, length=STEPS if order is None else None)[0]

    arguments = (params, state, x, y, order)
    return partial(jax.jit(steps).lower(*arguments).compile(), *arguments)


def _seconds(program) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program())
    return time.perf_counter() - begin
