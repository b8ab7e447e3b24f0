"""`ensemble` is `jax.vmap` with the mapped axis last: the same numbers for anything that can be mapped."""

from importlib import import_module

import chex
import jax
import jax.numpy as jnp
import optax
import optax.contrib
import pytest
from jax import lax

from jaxnn.ensembles import ensemble, spread

N = 5


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def carried(steps):
    """A scan whose second carry starts unmapped and becomes mapped, with consts, xs, stacked and passed-on outputs."""

    def f(w, x):
        def body(carry, row):
            a, b, count = carry
            return (jnp.tanh(a * w), b + a.sum(), count + 1), (a[0], row, count)

        return lax.scan(body, (w + x, 0.0, 0), jnp.arange(steps, dtype=jnp.float32))

    return f


FUNCTIONS = {
    "elementwise": lambda w, x: jnp.where(w > 0, jnp.exp(w) * x, jnp.clip(w, -0.5, 0.3)),
    "short product, one side shared": lambda w, x: x.T[:, :3] @ w,
    "short product": lambda w, x: w.T @ w,
    "long product, left mapped": lambda w, x: jnp.tile(w, (20, 1)).T @ jnp.tile(x, (20, 1)),
    "long product, right mapped": lambda w, x: jnp.tile(x, (20, 1)).T @ jnp.tile(w, (20, 1)),
    "long product, both mapped": lambda w, x: jnp.tile(w, (20, 1)).T @ jnp.tile(w, (20, 1)),
    "batched product": lambda w, x: jnp.einsum("bij,bjk->bik", jnp.stack([w, x]), jnp.stack([x.T, w.T])),
    "contracting two axes": lambda w, x: jnp.tensordot(w, x, 2),
    "empty contraction": lambda w, x: w[:, :0] @ x[:0],
    "reductions": lambda w, x: (w.sum(), w.sum(0), w.max(1), w.mean(), jnp.argmax(w, 1), jnp.cumsum(w, 1), w.prod()),
    "long sum": lambda w, x: jnp.tile(w, (20, 1)).sum(0),
    "shapes": lambda w, x: (w.T, w.reshape(-1), w[1:, ::2], jnp.pad(w, 1), jnp.concatenate([w, x]), w[None]),
    "gather and sort": lambda w, x: (
        jnp.sort(w, 1),
        jnp.take_along_axis(w, jnp.argsort(w, 1), 1),
        w[jnp.array([0, 2])],
    ),
    "scalar of each network": lambda w, x: jnp.where(w.sum() > 0, x, w) * w[0, 0],
    "unmapped output": lambda w, x: (x, x.sum(), 1.0),
    "custom derivatives": lambda w, x: jax.grad(lambda v: jax.nn.relu(v).sum() + jax.nn.logsumexp(v))(w),
    "control flow": lambda w, x: lax.cond(w.sum() > 0, jnp.sin, jnp.cos, w),
    "choice that is shared": lambda w, x: lax.cond(x.sum() > 0, lambda v, u: (v, u), lambda v, u: (u, v), w, x),
    "division by one number": lambda w, x: (w / w.sum(), x / w[0, 0], jnp.round(w * 9).astype(int) // 2),
    "while": lambda w, x: lax.while_loop(lambda v: v.sum() < 5, lambda v: jnp.abs(v) + 0.1, w),
    "scan": carried(4),
    "checkpoint": lambda w, x: jax.grad(lambda v: jax.checkpoint(jnp.sin)(v).sum())(w),
    "barrier": lambda w, x: lax.optimization_barrier((w.T, x, w.sum(0))),
    "hessian": lambda w, x: jax.hessian(lambda v: jnp.tanh(x.T[:, :3] @ v).sum())(w),
    "sums of narrow numbers": lambda w, x: (
        lax.dot((w > 0).astype(jnp.int8).T * 100, jnp.full((3, 2), 100, jnp.int8), preferred_element_type=jnp.int32),
        (w > 0).T @ (x > 0),
        lax.dot(w.astype(jnp.bfloat16).T, x.astype(jnp.bfloat16), preferred_element_type=jnp.float32),
    ),
    "reshape in another order": lambda w, x: lax.reshape(w, (12,), dimensions=(1, 0)),
    "a weak type": lambda w, x: w.astype(jnp.bfloat16) * 3.0,
    "linear algebra": lambda w, x: jnp.linalg.inv(w @ w.T + 5 * jnp.eye(3)),
    "large products, their sums first or last": lambda w, x: (
        jnp.tile(w, (20, 10)).T @ jnp.tile(w, (20, 20)),
        jnp.tile(w, (20, 20)).T @ jnp.tile(w, (20, 10)),
        jnp.tile(w, (20, 10)) @ jnp.tile(w, (20, 10)).T,
        jnp.einsum("ikj,lki->ijl", jnp.tile(w, (20, 10)).reshape(3, 20, 40), jnp.tile(w, (20, 1)).reshape(4, 20, 3)),
    ),
}


@pytest.fixture(params=["all first", "as they are", "all last", "all first, on a GPU"])
def small(request, monkeypatch):
    """Where the networks lie, and how products are laid out, is a matter of speed."""
    small = {"as they are": 2**12, "all last": 2**62}.get(request.param, -1)
    monkeypatch.setattr(import_module("jaxnn.ensembles"), "_SMALL", small)
    if "GPU" in request.param:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_vmap(name):
    f, w, x = FUNCTIONS[name], normal(3, 4, N), normal(3, 4, seed=1)
    fast = jax.jit(ensemble(f, (-1, None)))(w, x)
    reference = jax.vmap(f, (-1, None), out_axes=-1)(w, x)
    chex.assert_trees_all_equal_shapes_and_dtypes(fast, reference)
    chex.assert_trees_all_close(fast, reference, atol=2e-6, rtol=2e-6)


def test_the_comparison_can_fail():
    """Mapping the wrong axis gives other numbers, of the same shape."""
    w, x = normal(3, 3, 3), normal(3, 3, seed=1)
    f = FUNCTIONS["short product"]
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(ensemble(f, (-1, None))(w, x), jax.vmap(f, (0, None), out_axes=-1)(w, x), atol=2e-6)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "optimizer", [optax.adam, optax.lamb, optax.sgd, optax.adafactor, optax.contrib.muon, optax.lion]
)
def test_any_optimizer_is_mapped_rightly(optimizer):
    """Also those whose update mixes the entries of an array (norms, factors, Newton-Schulz): networks stay apart."""

    def train(w, x, rate):
        def step(carry, _):
            v, state = carry
            gradient = jax.grad(lambda v: jnp.sum((x @ v - 1) ** 2))(v)
            updates, state = optimizer(rate).update(gradient, state, v)
            return (optax.apply_updates(v, updates), state), None

        return lax.scan(step, (w, optimizer(rate).init(w)), None, length=3)[0][0]

    w, x, rates = normal(3, 4, N), normal(6, 3, seed=1), jnp.linspace(0.01, 0.1, N)
    fast = jax.jit(ensemble(train, (-1, None, -1)))(w, x, rates)
    alone = jnp.stack([train(w[..., i], x, rates[i]) for i in range(N)], axis=-1)
    chex.assert_trees_all_close(fast, alone, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_keys_are_mapped():
    keys = jax.random.split(jax.random.key(0), N)
    fast = ensemble(lambda key: jax.random.normal(key, (2, 3)), (-1,))(keys)
    chex.assert_trees_all_equal(fast, jax.vmap(lambda key: jax.random.normal(key, (2, 3)), out_axes=-1)(keys))


def test_one_trace_for_any_number_of_calls():
    f = jax.jit(ensemble(chex.assert_max_traces(lambda w: jnp.tanh(w), 1), (-1,)))
    f(normal(3, N))
    f(normal(3, N, seed=1))


@jax.custom_vjp
def hundredfold(x):
    return jnp.sin(x)


hundredfold.defvjp(lambda x: (jnp.sin(x), None), lambda _, g: (100 * g,))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "f", [jax.nn.relu, hundredfold, lambda w: lax.scan(lambda c, r: (hundredfold(c + r), c), w[0], w)]
)
def test_derivatives_of_their_own_are_kept(f):
    w = jnp.round(normal(3, 4, N))  # with zeros, where relu's derivative is a choice

    def total(mapped):
        return jax.grad(lambda w: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(mapped(w))))(w)

    chex.assert_trees_all_close(total(ensemble(f, (-1,))), total(jax.vmap(f, -1, -1)), rtol=1e-6)


def test_an_axis_that_is_not_the_last_raises():
    for axes in ((0,), -1, (-1, None), "a"):
        with pytest.raises(ValueError, match="expected one entry for each"):
            ensemble(jnp.sin, axes)(normal(2, 5))
    with pytest.raises(ValueError, match="at least one argument"):
        spread(jnp.add, (None, None))(1.0, 2.0)
    with pytest.raises(ValueError, match=r"\[5, 'none'\]"):
        spread(jnp.add, (-1, -1))(1.0, normal(2, 5))


def test_disagreeing_sizes_raise():
    with pytest.raises(ValueError, match=r"\[5, 6\]"):
        ensemble(lambda a, b: a + b, (-1, -1))(normal(2, 5), normal(2, 6))
    with pytest.raises(ValueError, match="at least one argument"):
        ensemble(lambda a: a, (None,))(normal(2, 5))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("networks", [1, 4, 5])
def test_spread_over_devices_equals_one_device(networks):
    f, w, x = FUNCTIONS["scan"], normal(3, 4, networks), normal(3, 4, seed=1)
    both, one = jax.jit(spread(f, (-1, None)))(w, x), jax.jit(ensemble(f, (-1, None)))(w, x)
    chex.assert_trees_all_close(both, one, atol=1e-6)
    assert jax.local_device_count() == 2
