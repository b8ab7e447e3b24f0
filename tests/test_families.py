"""Any of several activations, chosen at run time, is that one: value, derivatives, kinks, in every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ACTIVATIONS, ensemble
from jaxnn.families import any_of

POINTS = np.concatenate([np.linspace(-6, 6, 97), [-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3]])


def family(params):
    """The elementwise activations of the table with so many trainable parameters."""
    return [
        one
        for one in ACTIVATIONS.values()
        if not one.random and (one.inputs, one.outputs) == (1, 1) and len(one.params) == params
    ]


def slopes(fn, arguments):
    """The derivative with respect to each argument, row by row."""
    return jax.jit(jax.vmap(jax.grad(fn, tuple(range(len(arguments))))))(*arguments)


@pytest.mark.parametrize(("params", "dtype"), [(0, jnp.float32), (1, jnp.float32), (2, jnp.bfloat16)])
def test_it_is_the_one_that_was_chosen(params, dtype):
    several = family(params)
    assert len(several) > 2
    x = jnp.asarray(POINTS, dtype)
    chosen = jax.jit(lambda which, *arguments: any_of(several, which).fn(*arguments))
    derived = jax.jit(lambda which, *arguments: slopes(any_of(several, which).fn, arguments))
    for which, one in enumerate(several):
        arguments = (x, *(jnp.full_like(x, value) for _, value in one.params))
        eps = float(jnp.finfo(dtype).eps)  # forward and backward, a derivative is rounded at other places
        tolerance = {"rtol": 8 * eps, "atol": 4 * eps, "err_msg": one.name}
        value = chosen(which, *arguments)
        assert value.dtype == dtype
        np.testing.assert_allclose(*np.asarray([value, jax.jit(one.fn)(*arguments)], float), **tolerance)
        for found, expected in zip(derived(which, *arguments), slopes(one.fn, arguments), strict=True):
            np.testing.assert_allclose(*np.asarray([found, expected], float), **tolerance)


def primitives(jaxpr) -> list[str]:
    names = []
    for eqn in jaxpr.eqns:
        names.append(eqn.primitive.name)
        for value in eqn.params.values():
            for one in value if isinstance(value, tuple) else (value,):
                inner = getattr(one, "jaxpr", one)
                names += primitives(inner) if hasattr(inner, "eqns") else []
    return names


def test_one_branch_runs_where_the_networks_share_the_choice():
    """And the negative control: all of them do where each network has its own."""
    two = [ACTIVATIONS["tanh"], ACTIVATIONS["sin"]]

    def loss(weight, which, x):
        return jnp.sum(any_of(two, which).fn(x @ weight))

    weights, x = jnp.ones((3, 4, 5)), jnp.ones((8, 3))
    shared = jax.make_jaxpr(ensemble(jax.grad(loss), (-1, None, None)))(weights, jnp.int32(1), x)
    each = jax.make_jaxpr(ensemble(jax.grad(loss), (-1, -1, None)))(weights, jnp.zeros(5, jnp.int32), x)
    assert "cond" in primitives(shared.jaxpr)
    assert "cond" not in primitives(each.jaxpr)
    mapped = jax.vmap(jax.grad(loss), (-1, None, None), out_axes=-1)(weights, 1, x)
    np.testing.assert_allclose(ensemble(jax.grad(loss), (-1, None, None))(weights, jnp.int32(1), x), mapped, rtol=1e-6)
