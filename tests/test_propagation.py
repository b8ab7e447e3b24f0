"""Gains, length maps, correlation maps and the edge of chaos against closed forms and adaptive quadrature."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy.special import expit, ndtr

from jaxnn import ACTIVATIONS, Activation, activation_facts, correlation_map, length_map, maxout
from jaxnn.propagation import edge_of_chaos, second_moment

ELEMENTWISE = [record for record in ACTIVATIONS.values() if record.inputs == record.outputs == 1]
DIFFERENTIABLE = [record for record in ELEMENTWISE if not record.untrainable and record.smoothness >= 0]
by_name = {"ids": lambda record: record.name}


def density(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def quad(f, kinks=()):
    """E[f(z)] by scipy, split at the kinks."""
    points = sorted({0.0, *kinks})
    return integrate.quad(lambda z: f(z) * density(z), -12, 12, points=points, epsabs=1e-13, epsrel=1e-13, limit=500)[0]


# φ, its kinks, E[φ²] and E[φ′²].
CLOSED = {
    "identity": (lambda x: x, (), 1, 1),
    "relu": (lambda x: jnp.maximum(x, 0), (0,), 1 / 2, 1 / 2),
    "leaky_relu": (lambda x: jnp.where(x > 0, x, 0.01 * x), (0,), (1 + 1e-4) / 2, (1 + 1e-4) / 2),
    "abs": (jnp.abs, (0,), 1, 1),
    "sin": (jnp.sin, (), (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2),
    "cos": (jnp.cos, (), (1 + math.exp(-2)) / 2, (1 - math.exp(-2)) / 2),
    "square": (jnp.square, (), 3, 4),
    "exp": (jnp.exp, (), math.exp(2), math.exp(2)),
    "erf": (jax.scipy.special.erf, (), 2 / math.pi * math.asin(2 / 3), 4 / (math.pi * math.sqrt(5))),
}


@pytest.mark.parametrize("name", CLOSED)
def test_facts_against_closed_forms(name):
    fn, kinks, square, slope = CLOSED[name]
    facts = activation_facts(fn, kinks=kinks)
    np.testing.assert_allclose(facts.gain, square**-0.5, rtol=1e-10)
    np.testing.assert_allclose(facts.backward_gain, slope**-0.5, rtol=1e-10)
    np.testing.assert_allclose(facts.chi_1, slope / square, rtol=1e-10)
    assert facts.error < 1e-10


# A function on the host, its derivative, and the kinks.
NUMERIC = {
    "tanh": (math.tanh, lambda z: 1 - math.tanh(z) ** 2, ()),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z), ()),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z)), ()),
    "gelu": (lambda z: z * ndtr(z), lambda z: ndtr(z) + z * density(z), ()),
    "hard_tanh": (lambda z: min(max(z, -1), 1), lambda z: float(abs(z) < 1), (-1, 1)),
    "relu6": (lambda z: min(max(z, 0), 6), lambda z: float(0 < z < 6), (0, 6)),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1 if z > 0 else math.exp(z), (0,)),
    "soft_sign": (lambda z: z / (1 + abs(z)), lambda z: (1 + abs(z)) ** -2, (0,)),
}


@pytest.mark.parametrize("name", NUMERIC)
def test_facts_against_adaptive_quadrature(name):
    fn, derivative, kinks = NUMERIC[name]
    square, slope = quad(lambda z: fn(z) ** 2, kinks), quad(lambda z: derivative(z) ** 2, kinks)
    facts = activation_facts(name)
    np.testing.assert_allclose([facts.gain, facts.backward_gain], [square**-0.5, slope**-0.5], rtol=1e-10)
    growth = quad(lambda z: fn(z) ** 2 * (z * z - 1) / 2, kinks) / square
    np.testing.assert_allclose(facts.stability, growth, atol=1e-10)


def test_a_jump_has_a_gain_and_no_derivative():
    for name, square in (("step", 1 / 2), ("bipolar", 1)):
        facts = activation_facts(name)
        assert math.isclose(facts.gain, square**-0.5, rel_tol=1e-12)
        assert np.isnan([facts.backward_gain, facts.chi_1, facts.edge[1]]).all()


KINKED = {
    "relu": lambda at: lambda x: jnp.maximum(x - at, 0),
    "hinge": lambda at: lambda x: jnp.maximum(x - at, 0.5 * (at - x)),
    "step": lambda at: lambda x: jnp.where(x > at, 1.0, 0.1 * x),
    "bent": lambda at: lambda x: jnp.where(x > at, jnp.tanh(x - at), 0.1 * (x - at)),
}


@pytest.mark.parametrize("shape", KINKED)
def test_undeclared_kinks_are_confessed_and_declared_ones_are_exact(shape):
    for at in (0.35151007, -0.65387883, -0.20917558, 1.30400005, -2.5028252, 0.7, 0.05):
        fn = KINKED[shape](at)
        declared, blind = activation_facts(fn, kinks=(at,)), activation_facts(fn)
        assert declared.error < 1e-10
        pairs = [(declared.gain, blind.gain), (declared.backward_gain, blind.backward_gain)]
        true = max(abs((exact / found) ** 2 - 1) for exact, found in pairs)
        assert 1e-12 < true <= blind.error < 0.1


def test_a_declared_kink_is_as_good_as_adaptive_quadrature():
    at = 0.35151007
    facts = activation_facts(KINKED["bent"](at), kinks=(at,))
    square = quad(lambda z: (math.tanh(z - at) if z > at else 0.1 * (z - at)) ** 2, (at,))
    np.testing.assert_allclose(facts.gain, square**-0.5, rtol=1e-10)


LENGTHS = {  # E[φ(√q z)²]
    "relu": lambda q: q / 2,
    "sin": lambda q: (1 - math.exp(-2 * q)) / 2,
    "cos": lambda q: (1 + math.exp(-2 * q)) / 2,
    "square": lambda q: 3 * q * q,
    "bipolar": lambda q: 1.0,
    jax.scipy.special.erf: lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
}
CORRELATIONS = {  # E[φ(u₁) φ(u₂)]
    "relu": lambda c, q: q / 2 * (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi,
    "sin": lambda c, q: math.exp(-q) * math.sinh(q * c),
    "cos": lambda c, q: math.exp(-q) * math.cosh(q * c),
    "square": lambda c, q: q * q * (1 + 2 * c * c),
    "bipolar": lambda c, q: 2 / math.pi * math.asin(c),
    jax.scipy.special.erf: lambda c, q: 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)),
}


@pytest.mark.parametrize("activation", LENGTHS)
@pytest.mark.parametrize("q", [0.3, 1.0, 4.0])
def test_the_maps_in_closed_form(activation, q):
    found = length_map(activation, q, weight_variance=1.5, bias_variance=0.2)
    assert math.isclose(found, 1.5 * LENGTHS[activation](q) + 0.2, rel_tol=1e-10)
    for c in (-1.0, -0.6, 0.0, 0.3, 0.99, 1.0):
        found = correlation_map(activation, c, q, weight_variance=1.5, bias_variance=0.2)
        truth = (1.5 * CORRELATIONS[activation](c, q) + 0.2) / q
        assert math.isclose(found, truth, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("activation", DIFFERENTIABLE, **by_name)
def test_the_slope_of_the_correlation_map_at_one_is_chi(activation):
    step = 1e-6
    slope = (correlation_map(activation, 1.0) - correlation_map(activation, 1 - step)) / step
    # Of a kinked function C(1) − C(1 − h) is χ₁h less a term of order h^1.5.
    assert math.isclose(slope, activation_facts(activation).chi_1, rel_tol=2 * math.sqrt(step))


@pytest.mark.parametrize("activation", DIFFERENTIABLE, **by_name)
def test_the_edge_of_chaos_is_a_fixed_point_with_chi_one(activation):
    weight, bias = activation_facts(activation).edge
    facts = activation_facts(activation)
    assert math.isnan(bias) == (facts.chi_1 < 1 - 1e-10)
    if not math.isnan(bias):
        assert math.isclose(length_map(activation, 1.0, weight, bias), 1, rel_tol=1e-10)
        assert math.isclose(weight * facts.backward_gain**-2, 1, rel_tol=1e-10)


def test_the_edge_of_chaos_at_other_lengths():
    for q in (0.2, 3.0):
        weight, bias = edge_of_chaos("tanh", q)
        assert math.isclose(length_map("tanh", q, weight, bias), q, rel_tol=1e-10)
        slope = (1 - correlation_map("tanh", 1 - 1e-6, q, weight, bias)) / 1e-6
        assert math.isclose(slope, 1, rel_tol=1e-4)


def farthest(activation, q, steps=30):
    """|ln q| before and after iterating the length map with the matched gain, until it leaves or arrives."""
    start, weight = abs(math.log(q)), activation_facts(activation).gain ** 2
    for _ in range(steps):
        q = length_map(activation, q, weight)
        if not 0.05 < q < 20:
            break
    return start, abs(math.log(q))


@pytest.mark.parametrize("activation", ELEMENTWISE, **by_name)
def test_stable_lengths_return_and_unstable_ones_leave(activation):
    stability = activation_facts(activation).stability
    assert activation.stable == (abs(stability) <= 1 + 1e-9)
    for q in (0.9, 1.1):
        start, end = farthest(activation, q)
        assert (end <= start * (1 + 1e-9)) == activation.stable
        assert end <= start * max(abs(stability) ** 20, 0.01) or abs(stability) > 1 - 1e-6


def test_from_afar_lengths_return_under_tanh_and_leave_under_gelu():
    for q in (0.5, 2.0):
        assert farthest("tanh", q)[1] < 1e-6
        assert farthest("gelu", q)[1] > 2


def test_monotone_is_non_decreasing():
    assert activation_facts("tanh").monotone
    assert not activation_facts("gelu").monotone
    assert not activation_facts(lambda x: -x).monotone


@pytest.mark.parametrize("x64", [False, True])
def test_the_facts_hold_inside_jit_and_vmap_and_in_either_precision(x64):
    def fn(u):
        return jnp.maximum(u, 0)

    def scaled(x):
        return x * activation_facts(fn, kinks=(0,)).gain ** 2 + length_map(fn, 2.0) + correlation_map(fn, 1.0)

    with jax.enable_x64(x64):
        x = jnp.arange(3.0)
        out = jax.jit(jax.vmap(scaled))(x)
        assert out.dtype == x.dtype
        np.testing.assert_allclose(out, 2 * np.arange(3) + 2, rtol=1e-6)


def without_gain(name) -> Activation:
    return dataclasses.replace(ACTIVATIONS[name], gain=None)


MOMENTS = {
    "glu": quad(lambda z: expit(z) ** 2),
    "swiglu": quad(lambda z: (z * expit(z)) ** 2),
    "geglu": quad(lambda z: (z * ndtr(z)) ** 2),
    "reglu": 1 / 2,
    "bilinear": 1.0,
    "crelu": 1 / 2,
}


@pytest.mark.parametrize("name", MOMENTS)
def test_second_moment_of_gates(name):
    assert math.isclose(second_moment(without_gain(name)), MOMENTS[name], rel_tol=1e-9)
    assert math.isclose(second_moment(ACTIVATIONS[name]), MOMENTS[name], rel_tol=1e-8)


@pytest.mark.parametrize(("k", "truth"), [(2, 1.0), (3, 1 + math.sqrt(3) / (2 * math.pi)), (5, None)])
def test_second_moment_of_maxout_is_an_order_statistic(k, truth):
    largest = quad(lambda z: z * z * k * ndtr(z) ** (k - 1))
    assert math.isclose(largest, truth or largest, rel_tol=1e-10)
    assert math.isclose(second_moment(maxout(k)), largest, rel_tol=1e-9)


@pytest.mark.parametrize("activation", [r for r in ELEMENTWISE if not r.random], **by_name)
def test_the_recorded_gain_is_the_integral(activation):
    assert math.isclose(second_moment(activation), activation_facts(activation).gain ** -2, rel_tol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: activation_facts("swiglu"), "expected an elementwise activation"),
        (lambda: length_map("tanh", q=0.0), "expected a variance above 0"),
        (lambda: correlation_map("tanh", c=1.5), r"expected a correlation in \[−1, 1\]"),
        (lambda: edge_of_chaos("tanh", q=-1.0), "expected a variance above 0"),
        (lambda: activation_facts("tahn"), "did you mean 'tanh'"),
        (lambda: second_moment(dataclasses.replace(maxout(3), gain=None)), "record its gain"),
    ],
)
def test_bad_input_is_refused_with_the_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()
