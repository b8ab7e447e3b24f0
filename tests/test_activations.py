"""Every activation against its textbook definition in 150 digits, and every fact of its record recomputed."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri
from textbook import REFERENCES, m, outputs

from jaxnn import gated, rectifiers
from jaxnn.activations import ACTIVATIONS, Activation, get, maxout, parametric
from jaxnn.ensembles import ensemble
from jaxnn.propagation import second_moment

DIGITS = 130
ALL = [*ACTIVATIONS.values(), maxout(3), parametric("silu")]
ELEMENTWISE = [a for a in ALL if a.inputs == a.outputs == 1]
WITHIN_TWO = [a for a in ALL if a.inputs <= 2]  # those that `second_moment` integrates
every = pytest.mark.parametrize("activation", ALL, ids=lambda a: a.name)
every_elementwise = pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: a.name)

_SIZES = [1e-30, 1e-8, 1e-3, 0.03, 0.1, 0.3, 0.7, 1, 1.1, 1.6, 2.2, 4, 5.5, 9, 20, 88, 500, 1e4]
_GRID = np.array(sorted([-s for s in _SIZES] + _SIZES))
_FEW = np.array([-500, -20, -1.3, -1e-8, 1e-30, 0.4, 3.5, 88])


def points(activation, dtype=np.float64):
    """Pre-activations (n, inputs) inside the finite domain: one grid, or pairs and triples where no two are equal."""
    if activation.inputs == 1:
        low, high = activation.domain
        return np.array([[x] for x in _GRID if low <= x <= high], dtype)
    axes = [_FEW * (1 + i / 8) for i in range(activation.inputs)]
    return np.array(list(itertools.product(*axes))).astype(dtype)


def start(activation, dtype):
    return tuple(np.asarray(value, dtype) for _, value in activation.params)


def reference(activation, dtype=np.float64):
    """φ (n, outputs) at the points."""
    with m.workdps(DIGITS):
        params = [m.mpf(float(value)) for value in start(activation, dtype)]
        rows = [outputs(activation, [*map(m.mpf, x.tolist()), *params]) for x in points(activation, dtype)]
        return np.array([[float(v) for v in row] for row in rows])


def reference_slopes(activation):
    """The derivatives (n, outputs, inputs and parameters) at the points, by differences of 45 digits."""
    slopes = []
    with m.workdps(DIGITS):
        h = m.mpf(10) ** -45
        params = [m.mpf(float(value)) for value in start(activation, jnp.float64)]
        for x in points(activation):
            args = [*map(m.mpf, x.tolist()), *params]
            columns = []
            for i in range(len(args)):
                up, down = (outputs(activation, [a + s * h * (i == j) for j, a in enumerate(args)]) for s in (1, -1))
                columns.append([float((u - d) / (2 * h)) for u, d in zip(up, down, strict=True)])
            slopes.append(np.array(columns).T)
    return np.array(slopes)


def derivatives(activation):
    """φ (n, outputs) and its derivatives (n, outputs, inputs and parameters) in one program."""
    arguments = tuple(range(1 + len(activation.params)))

    def both(x, *params):
        jacobians = jax.jacfwd(activation.fn, arguments)(x, *params)
        return activation.fn(x, *params), jnp.concatenate(
            [j.reshape(activation.outputs, -1) for j in jacobians], axis=-1
        )

    return jax.jit(jax.vmap(both, (0, *(None for _ in activation.params))))


@functools.cache
def evaluate(activation, dtype=np.float64):
    """φ and its derivatives at groups of rows: the points, everywhere between ±1e4, NaN, −∞ and ∞, the lines."""
    low, high = np.clip(activation.domain, -1e4, 1e4)
    grid = np.concatenate([np.linspace(low, high, 2000), np.clip(_GRID, low, high)])
    rng = np.random.default_rng(0)
    everywhere = np.stack([grid, *(rng.permutation(grid) for _ in range(activation.inputs - 1))], axis=-1)
    ends = np.tile(np.array([[np.nan], [-np.inf], [np.inf]]), activation.inputs)
    groups = points(activation), everywhere, ends, *(lines(activation) if dtype == np.float64 else ())
    x = np.concatenate(groups).astype(dtype)
    out = derivatives(activation)(x, *start(activation, dtype))
    assert [a.dtype for a in out] == [dtype, dtype]
    cuts = np.cumsum([len(group) for group in groups])[:-1]
    values, slopes = (np.split(np.asarray(a, np.float64), cuts) for a in out)
    return list(zip(values, slopes, strict=True))


def dense_grid(activation):
    low, high = np.clip(activation.domain, -1e4, 1e4)
    grid = np.concatenate([[low], np.linspace(max(low, -400), -31, 300), np.linspace(-30, 30, 24_001)])
    return np.concatenate([grid, np.linspace(31, min(high, 400), 300), [high]])


def lines(activation):
    """The dense grid in all inputs together, and in each alone with the others at ±0.7."""
    grid = dense_grid(activation)[:, None]
    alone = itertools.product(range(activation.inputs), (-0.7, 0.7))
    rows = (np.where(np.arange(activation.inputs) == i, grid, other) for i, other in alone)
    return np.tile(grid, activation.inputs), *rows


def smooth_values(activation):
    """φ (lines, n, outputs) in float64 along the lines."""
    with jax.enable_x64(True):
        return np.stack([value for value, _ in evaluate(activation)[3:]])


# Values and derivatives.


def test_every_activation_has_a_textbook_definition():
    assert set(REFERENCES) == {a.name for a in ALL}


@every
def test_value_and_derivative_in_float64(activation, strict):
    with jax.enable_x64(True):
        (value, slope), *_ = evaluate(activation)
        expected, expected_slope = reference(activation), reference_slopes(activation)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-300)
    smooth = ~np.isin(points(activation), [at for at, _ in activation.kinks]).any(axis=1)
    # The derivative of a difference such as 1 − tanh² is good to rounding of its terms; those grow with x at most.
    scale = 1 + np.abs(points(activation)).max(axis=1)[:, None, None] + np.abs(expected_slope)
    assert smooth.any()
    assert np.all((np.abs(slope - expected_slope) <= 1e-13 * scale)[smooth])


@every
def test_float32_is_within_the_ulp_of_the_record(activation, strict):
    (value, _), *_ = evaluate(activation, jnp.float32)
    with jax.enable_x64(True):
        expected = reference(activation, np.float32)
    tiny = np.finfo(np.float32).tiny
    error = np.abs(value - expected) / np.spacing(np.maximum(np.abs(expected), tiny).astype(np.float32))
    # Denormal numbers are flushed to 0: those of a gate before it is multiplied with the input.
    flushed = np.abs(expected) < 2 * tiny * (1 + np.abs(points(activation)).max(axis=1, keepdims=True))
    assert np.where(flushed, 0, error).max() <= activation.ulp + 0.501


@pytest.mark.parametrize(
    ("fn", "order", "x"),
    [("sigmoid", 1, 16), ("sigmoid", 1, 20), ("tanh", 1, 8), ("silu", 2, 40), ("sigmoid", 2, -60), ("sigmoid", 2, 60)],
)
def test_saturated_derivatives(fn, order, x):
    slope = functools.reduce(lambda f, _: jax.grad(f), range(order), get(fn).fn)
    with m.workdps(DIGITS):
        expected = float(m.diff(REFERENCES[fn], x, order))
    np.testing.assert_allclose(jax.jit(slope)(float(x)), expected, rtol=2e-6)


def test_the_gate_of_a_glu_keeps_its_slope():
    slope = jax.grad(lambda gate: gated.glu(jnp.stack([2.0, gate])).sum())(20.0)
    np.testing.assert_allclose(slope, 2 * float(m.diff(REFERENCES["sigmoid"], 20)), rtol=2e-6)


@pytest.mark.parametrize(("name", "expected"), [("sigmoid", [0, -1 / 8]), ("tanh", [0, -2]), ("silu", [1 / 2, 0])])
def test_higher_derivatives_at_zero_are_those_of_one_side(name, expected):
    """Where |x| would give 0 for the third."""
    second = jax.grad(jax.grad(get(name).fn))
    np.testing.assert_allclose([second(0.0), jax.grad(second)(0.0)], expected, atol=1e-7)


@every
def test_finite_between_the_ends_and_limits_beyond(activation, strict):
    """In float32; narrower types are computed in it, and test_accuracy walks all their numbers."""
    _, (value, slope), (ends, _), *_ = evaluate(activation, jnp.float32)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    assert np.isnan(ends[0]).all()
    if activation.inputs == activation.outputs:
        limits = np.array(activation.limits or activation.range[:2])
        np.testing.assert_allclose(ends[1:, 0], limits, rtol=float(jnp.finfo(jnp.float32).eps), equal_nan=True)


@pytest.mark.parametrize("activation", [a for a in ALL if a not in ELEMENTWISE], ids=lambda a: a.name)
def test_float16_is_kept_and_overflows_without_nan(activation, strict):
    _, (value, slope), *_ = evaluate(activation, jnp.float16)
    assert not np.isnan(value).any()
    assert not np.isnan(np.where(np.isfinite(value)[..., None], slope, 0)).any()


@every
def test_jit_vmap_and_ensemble_agree_with_eager(activation):
    x = jax.random.normal(jax.random.key(1), (2, 6)) * 3
    params = start(activation, jnp.float32)

    def fn(x):
        return activation.fn(x, *(jnp.broadcast_to(p, x.shape) for p in params))

    eager = fn(x)
    assert eager.shape == (2, 6 * activation.outputs // activation.inputs)
    assert not activation.random or activation.fn(x, key=jax.random.key(0)).dtype == eager.dtype
    ways = jax.jit(lambda x: [fn(x), jax.vmap(fn)(x), jnp.stack([fn(row) for row in x]), ensemble(fn, (-1,))(x.T).T])
    for other in ways(x):
        np.testing.assert_allclose(other, eager, rtol=2e-6, atol=1e-6)


# The facts of the record.


@every
def test_range_is_recomputed(activation):
    low, high, low_attained, high_attained = activation.range
    values, inside = smooth_values(activation), np.abs(dense_grid(activation)) <= 2
    assert values.min() >= low - 1e-9
    assert values.max() <= high + 1e-9
    for end, attained, value, near in (
        (-low, low_attained, -values, -values[:, inside]),
        (high, high_attained, values, values[:, inside]),
    ):
        if math.isinf(end):
            assert value.max() > 50
        elif attained:
            assert abs(value.max() - end) < 1e-6
        else:
            assert end - 2e-4 < value.max()
            assert near.max() < end


@every
def test_monotonicity_is_recomputed(activation):
    values = smooth_values(activation)
    falls = -np.diff(values, axis=1) / (1 + np.abs(values[:, 1:]))
    assert activation.monotone == (falls.max() <= 1e-15)
    assert activation.monotone or falls.max() > 1e-9


@every_elementwise
def test_kinks_and_smoothness_are_recomputed(activation):
    """One-sided derivatives of orders 0 to 3 at all places where a kink could be."""
    at = np.array([-3, -2, -1, -0.5, 0, 0.5, 1, 3, 6, 10])
    derivatives = [lambda x: activation.fn(x, *start(activation, x.dtype))]
    for _ in range(3):
        derivatives.append(lambda x, f=derivatives[-1]: jax.jvp(f, (x,), (jnp.ones_like(x),))[1])
    both = jax.jit(lambda x: jnp.stack([f(x) for f in derivatives]))
    with jax.enable_x64(True):
        left, right = (np.asarray(both(jnp.asarray(at + side * 1e-7))) for side in (-1, 1))
    jumps = np.abs(right - left) > 1e-3 * (1 + np.abs(right))
    order = np.where(jumps.any(axis=0), jumps.argmax(axis=0), np.inf)
    assert set(at[order < np.inf]) == {float(k) for k, _ in activation.kinks}
    assert activation.smoothness == order.min() - 1


@functools.cache
def both_modes(activation):
    """∂φ/∂x (rows, outputs, inputs) by forward and by reverse mode, at 0 and where the kinks are."""
    at = np.array([0, *(at for at, _ in activation.kinks)], np.float32)
    params = start(activation, jnp.float32)
    modes = [jax.vmap(jac(lambda x: activation.fn(x, *params))) for jac in (jax.jacfwd, jax.jacrev)]
    return jax.device_get(jax.jit(lambda x: [mode(x) for mode in modes])(np.tile(at[:, None], activation.inputs)))


@every_elementwise
def test_derivative_at_each_kink_is_the_chosen_one(activation):
    chosen = [slope for _, slope in activation.kinks]
    for slopes in both_modes(activation):
        np.testing.assert_allclose(slopes[1:, 0, 0], chosen, rtol=1e-6)


@every
def test_derivative_at_zero_is_finite_and_of_both_modes(activation):
    """XOR's input (0, 0) with zero biases."""
    forward, reverse = (slopes[0] for slopes in both_modes(activation))
    np.testing.assert_allclose(forward, reverse, rtol=3e-7)
    assert np.isfinite(forward).all()
    if activation.smoothness == math.inf and activation.inputs == 1:
        with m.workdps(60):
            h, args = m.mpf(10) ** -25, [m.mpf(float(p)) for p in start(activation, jnp.float32)]
            up, down = (outputs(activation, [side * h, *args])[0] for side in (1, -1))
        np.testing.assert_allclose(forward[0, 0], float((up - down) / (2 * h)), rtol=1e-6, atol=1e-20)


def _recomputed_moment(activation, q=1.0):
    """E[φ(√q z)²] by the integral, whatever the record says."""
    root = math.sqrt(q)
    kinks = tuple((at / root, slope) for at, slope in activation.kinks)
    scaled = dataclasses.replace(
        activation, gain=None, kinks=kinks, fn=lambda x, *params: activation.fn(root * x, *params)
    )
    return second_moment(scaled)


def _moment_over_draws(activation):
    z = jnp.asarray(ndtri((np.arange(4096) + 0.5) / 4096), jnp.float32)
    return float(jnp.mean(activation.fn(jnp.tile(z, (1000, 1)), key=jax.random.key(0)) ** 2))


every_wide = pytest.mark.parametrize(
    "activation", [a for a in WITHIN_TWO if a not in ELEMENTWISE], ids=lambda a: a.name
)


# Gain and stability of the elementwise ones are recomputed in test_propagation.


@every_wide
def test_gain_of_wide_units_is_recomputed(activation):
    np.testing.assert_allclose(_recomputed_moment(activation), activation.gain**-2, rtol=1e-9)


@pytest.mark.parametrize("activation", [a for a in WITHIN_TWO if a.random], ids=lambda a: a.name)
def test_gain_of_random_activations_is_that_of_their_expectation(activation):
    """As all facts of the record are; over the draws the mean square is a little larger."""
    assert 0 < _moment_over_draws(activation) * activation.gain**2 - 1 < 5e-3


@every_wide
def test_stability_of_wide_units_is_recomputed(activation):
    below, there, above = (_recomputed_moment(activation, q) for q in (0.999, 1, 1.001))
    stability = abs(above - below) / 0.002 / there
    assert activation.stable == (stability <= 1 + 1e-6)
    assert abs(stability - 1) > 1e-2 or abs(stability - 1) < 1e-6  # far enough from 1 for the difference to decide


@every
def test_record_is_complete(activation):
    assert activation.formula
    assert activation.source
    assert activation.inputs >= 1
    assert activation.outputs >= 1
    assert hash(activation) == hash(dataclasses.replace(activation))
    assert all(isinstance(value, float) for value in activation.constants.values())


@every
def test_untrainable_says_where_the_gradient_is_zero_everywhere(activation):
    (_, slope), *_ = evaluate(activation, jnp.float32)
    assert bool(activation.untrainable) == (not slope.any())


# Neighbours: one function under two names.


@pytest.mark.parametrize(
    ("one", "other", "params"),
    [
        ("silu", "swish", (1.0,)),
        ("celu", "elu", ()),
        ("relu", "tlu", (0.0,)),
        ("relu", "prelu", (0.0,)),
        ("leaky_relu", "prelu", (0.01,)),
        ("identity", "prelu", (1.0,)),
        ("squared_relu", "star_relu", (1.0, 0.0)),
    ],
)
def test_pairs_are_equal_in_value_and_derivative(one, other, params):
    x = jnp.concatenate([jnp.linspace(-30, 30, 2001), jnp.zeros(1)])
    for f in (lambda f: f, lambda f: jax.vmap(jax.grad(f))):
        left, right = f(get(one).fn)(x), f(lambda x: get(other).fn(x, *params))(x)
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)


def test_swish_between_half_the_line_and_relu():
    x = jnp.linspace(-3, 3, 13)
    np.testing.assert_array_equal(get("swish").fn(x, 0.0), x / 2)
    np.testing.assert_allclose(get("swish").fn(x, 1e4), get("relu").fn(x), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1e-30, 1e-13, 1e-8, 1e-3])
def test_snake_has_its_limit_at_small_alpha(alpha):
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(get("snake").fn, argnums=(0, 1))(2.0, alpha)
    np.testing.assert_allclose(value, 2 + 4 * alpha, rtol=1e-5)
    np.testing.assert_allclose(slope, (1 + 4 * alpha, 4), rtol=1e-5)


def test_star_relu_starts_with_mean_0_and_variance_1():
    mean, square = (second_moment(Activation("", f)) for f in (lambda x: rectifiers.relu(x), rectifiers.squared_relu))
    scale, bias = (value for _, value in get("star_relu").params)
    np.testing.assert_allclose(
        [scale, bias], [(square - mean**2) ** -0.5, -mean * (square - mean**2) ** -0.5], atol=5e-5
    )


def test_rrelu_draws_slopes_between_its_bounds():
    rrelu, x = get("rrelu"), -jnp.ones(100_000)
    slopes = -rrelu.fn(x, key=jax.random.key(0))
    assert rrelu.constants == {"low": 1 / 8, "high": 1 / 3}
    assert 1 / 8 <= slopes.min() < 0.1255 < 0.333 < slopes.max() <= 1 / 3
    np.testing.assert_allclose(slopes.mean(), -rrelu.fn(x)[0], rtol=2e-3)
    assert (rrelu.fn(-x, key=jax.random.key(0)) == 1).all()


def test_maxout_shares_a_tie_and_keeps_units_in_blocks():
    fn = maxout(3).fn
    np.testing.assert_array_equal(fn(jnp.array([[1.0, 2, 3, 4, 5, 0]])), [[5, 4]])
    np.testing.assert_allclose(jax.grad(lambda x: fn(x).sum())(jnp.zeros(3)), [1 / 4, 1 / 4, 1 / 2])
    np.testing.assert_allclose(
        maxout(3).gain ** -2, np.mean(np.random.default_rng(0).normal(size=(3, 10**6)).max(0) ** 2), rtol=5e-3
    )


def test_both_conventions_of_the_derivative_of_relu():
    half = get(lambda x: jnp.maximum(x, 0))
    assert jax.grad(get("relu").fn)(0.0) == 0
    assert jax.grad(half.fn)(0.0) == 0.5


# By name.


def test_names_and_aliases_are_unique_and_found():
    names = [name for a in ACTIVATIONS.values() for name in (a.name, *a.aliases)]
    assert len(names) == len(set(names))
    for activation in ACTIVATIONS.values():
        for name in (activation.name, *activation.aliases, activation.name.upper(), activation.name.replace("_", "")):
            assert get(name) is activation


def test_callables_and_records():
    assert get(jnp.tanh) == get(jnp.tanh)
    assert get(rectifiers.relu) is ACTIVATIONS["relu"]
    assert get(maxout(3)) is maxout(3)
    cooler = functools.partial(rectifiers.leaky_relu, slope=0.2)
    assert get(cooler).fn is cooler
    assert get(lambda x: x).params == ()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rely", "'relu'"),
        ("swich", "'swish'"),
        ("sigmoyd", "'sigmoid'"),
        ("hardtan", "'hard_tanh'"),
        ("", "known: 'abs'"),
    ],
)
def test_unknown_names_raise_with_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown activation '{name}'.*{near}"):
        get(name)


def test_other_errors():
    with pytest.raises(TypeError, match="expected a name or a function"):
        get(3)
    with pytest.raises(ValueError, match="maxout: k=1; expected 2 or more"):
        maxout(1)
