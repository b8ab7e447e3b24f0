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
TOGETHER = 16  # networks in a program, at most


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
    programs = _programs(networks, (*jax.tree.map(jnp.asarray, parts.train), order), key)
    rounds = [[_seconds(programs[name]) for name in networks] for _ in range(ROUNDS + 1)]
    steps = STEPS if order is None else len(order)
    seconds = np.sort(np.array(rounds[1:]), axis=0) / steps  # the first is for warming up
    return dict(zip(networks, seconds.T, strict=True))


def _programs(networks, rows, key) -> dict:
    """By name many steps of a network, a function without arguments; networks of the same shapes share a program."""
    starts, alike = {name: built.network.init(key) for name, (built, _, _) in networks.items()}, {}
    for name, params in starts.items():
        leaves, tree = jax.tree.flatten(params)
        alike.setdefault((tree, *map(jax.typeof, leaves)), []).append(name)
    groups = [names[i : i + TOGETHER] for names in alike.values() for i in range(0, len(names), TOGETHER)]
    compiled = compile_ahead(groups, lambda names: _program([networks[n] for n in names], starts[names[0]], *rows))
    with closing(compiled):
        return {
            name: partial(program, np.int32(which), starts[name], *rows)
            for names, program in compiled
            for which, name in enumerate(names)
        }


def _program(several, *arguments):
    """Many steps of one of several networks of the same shapes: compiled together in a third of the time."""

    def steps(built, recipe, rate):
        optimizer = recipe.make_optimizer(learning_rate=rate)

        def run(params, x, y, order):
            def step(carry, rows):
                batch = (x, y) if rows is None else jax.tree.map(lambda leaf: leaf[rows], (x, y))
                return train_step(built.network, built.head.loss, optimizer, *carry, *batch)[:2], None

            start = params, optimizer.init(params)
            return lax.scan(step, start, order, length=STEPS if order is None else None)[0][0]

        return run

    def chosen(which, *arguments):
        return lax.switch(which, [steps(*one) for one in several], *arguments)

    return jax.jit(chosen).lower(np.int32(0), *arguments).compile()


def _seconds(program) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program())
    return time.perf_counter() - begin
