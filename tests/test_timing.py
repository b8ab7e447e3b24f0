"""A step that is timed is the step of that network, and few programs are compiled for many networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.lab import Recipe, splits, task, timing
from jaxnn.lab.recipe import build, resolved
from jaxnn.training import train_step

NAMES = ("relu", "tanh", "prelu", "geglu", "sin")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def iris():
    rows = splits(task("iris"))
    recipe = resolved(Recipe(hidden=(4,), batch_size=30), rows)
    networks = {name: (build(name, recipe, rows.task), recipe, 0.01 + 0.01 * i) for i, name in enumerate(NAMES)}
    return networks, rows.parts(0), jnp.arange(60).reshape(2, 30)


def test_each_is_trained_by_its_own_activation_and_rate(iris):
    networks, parts, order = iris
    x, y = map(jnp.asarray, parts.train)
    programs = timing._programs(networks, (x, y, order), KEY)
    assert set(programs) == set(NAMES)
    for name in ("relu", "prelu", "sin"):
        built, recipe, rate = networks[name]
        optimizer = recipe.make_optimizer(learning_rate=rate)
        params = built.network.init(KEY)
        state = optimizer.init(params)
        for rows in order:
            params, state, _ = train_step(built.network, built.head.loss, optimizer, params, state, x[rows], y[rows])
        for found, expected in zip(jax.tree.leaves(programs[name]()), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_networks_of_the_same_shapes_share_a_program(iris, monkeypatch):
    compiled, compile = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(self) or compile(self))
    monkeypatch.setattr(timing, "TOGETHER", 2)
    networks, parts, order = iris
    seconds = timing.step_seconds(networks, parts, order, KEY)
    assert len(compiled) == 4  # relu with tanh, sin, prelu, geglu
    assert list(seconds) == list(NAMES)
    for times in seconds.values():
        assert times.shape == (timing.ROUNDS,)
        assert (np.diff(times) >= 0).all()
        assert times[0] > 0
