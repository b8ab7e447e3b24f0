"""Signal propagation against closed forms and scipy's integrals, inside jit and vmap, and where it must refuse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.special import erf, expit

from jaxnn.activations import ACTIVATIONS, Activation, get, maxout
from jaxnn.propagation import activation_facts, correlation_map, edge_of_chaos, length_map, second_moment


def density(z):
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


# Closed forms of E[φ(√q z)²], of E[φ(u₁) φ(u₂)] at variance q and correlation c, and of E[φ′(√q z)²].
CLOSED = {
    "relu": (
        lambda q: q / 2,
        lambda q, c: q / 2 * (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi,
        lambda q: 1 / 2,
    ),
    "erf": (
        lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
        lambda q, c: 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)),
        lambda q: 4 / math.pi / math.sqrt(1 + 4 * q),
    ),
    "sin": (
        lambda q: (1 - math.exp(-2 * q)) / 2,
        lambda q, c: math.exp(-q) * math.sinh(q * c),
        lambda q: (1 + math.exp(-2 * q)) / 2,
    ),
    "cos": (
        lambda q: (1 + math.exp(-2 * q)) / 2,
        lambda q, c: math.exp(-q) * math.cosh(q * c),
        lambda q: (1 - math.exp(-2 * q)) / 2,
    ),
    "square": (lambda q: 3 * q**2, lambda q, c: q**2 * (1 + 2 * c**2), lambda q: 4 * q),
    "bipolar": (lambda q: 1.0, lambda q, c: 2 / math.pi * math.asin(c), lambda q: math.nan),
}
every = pytest.mark.parametrize("name", CLOSED)


def record(name):
    return Activation("erf", jax.lax.erf) if name == "erf" else get(name)


@every
@pytest.mark.parametrize("q", [0.04, 1.0, 2.5])
def test_length_map_and_edge_in_closed_form(name, q):
    square, _, slope = CLOSED[name]
    np.testing.assert_allclose(length_map(record(name), q, 1.7, 0.3), 1.7 * square(q) + 0.3, rtol=1e-10)
    weight, bias = edge_of_chaos(record(name), q)
    np.testing.assert_allclose(weight, 1 / slope(q), rtol=1e-10)
    expected = q - square(q) / slope(q)
    np.testing.assert_allclose(bias, expected if not expected < -1e-12 else math.nan, rtol=1e-9, atol=1e-10)


@every
@pytest.mark.parametrize("c", [-1.0, -0.99, -0.3, 0.0, 0.6, 0.9999, 1.0])
def test_correlation_map_in_closed_form(name, c):
    square, product, _ = CLOSED[name]
    for q in (0.3, 2.0):
        computed = correlation_map(record(name), c, q, 1.3, 0.1)
        np.testing.assert_allclose(computed, (1.3 * product(q, c) + 0.1) / q, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(
            correlation_map(record(name), c, q), product(q, c) / square(q), rtol=1e-10, atol=1e-10
        )


def test_correlation_map_with_several_kinks_against_scipy():
    c, root = 0.4, math.sqrt(1 - 0.4**2)
    clip = [-1, 0, 1]  # also where hard_tanh changes sign: scipy's rule sees no kink there

    def inner(u):
        breaks = [b for b in ((k - c * u) / root for k in clip) if -9 < b < 9]
        return quad(lambda v: np.clip(c * u + root * v, -1, 1) * density(v), -9, 9, points=breaks, epsabs=1e-13)[0]

    expected = quad(lambda u: np.clip(u, -1, 1) * inner(u) * density(u), -9, 9, points=clip, epsabs=1e-12, limit=200)[0]
    np.testing.assert_allclose(correlation_map("hard_tanh", c, 1.0, 1.0), expected, rtol=1e-9)


@every
def test_slope_of_the_correlation_map_at_one_is_chi_1(name):
    if record(name).smoothness == -1:
        assert math.isnan(activation_facts(record(name)).chi_1)
        return
    h = 1e-4
    slope = (correlation_map(record(name), 1.0) - correlation_map(record(name), 1.0 - h)) / h
    np.testing.assert_allclose(slope, activation_facts(record(name)).chi_1, rtol=3 * math.sqrt(h))


@pytest.mark.parametrize(
    "activation", [a for a in ACTIVATIONS.values() if a.inputs == a.outputs == 1], ids=lambda a: a.name
)
def test_facts_agree_with_the_records(activation):
    facts = activation_facts(activation)
    assert facts.error < 1e-12
    assert facts.monotone == activation.monotone
    np.testing.assert_allclose(facts.gain, activation.gain, rtol=1e-9)
    assert (abs(facts.stability) <= 1 + 1e-9) == activation.stable
    assert math.isnan(facts.chi_1) == (activation.smoothness == -1)


def test_facts_of_tanh_against_scipy():
    facts = activation_facts(jnp.tanh)
    moment = quad(lambda z: math.tanh(z) ** 2 * density(z), -12, 12, epsabs=1e-14)[0]
    slope = quad(lambda z: math.cosh(z) ** -4 * density(z), -12, 12, epsabs=1e-14)[0]
    mixed = quad(lambda z: math.tanh(z) * math.cosh(z) ** -2 * z * density(z), -12, 12, epsabs=1e-14)[0]
    np.testing.assert_allclose(facts.gain, moment**-0.5, rtol=1e-12)
    np.testing.assert_allclose(facts.backward_gain, slope**-0.5, rtol=1e-12)
    np.testing.assert_allclose(facts.chi_1, slope / moment, rtol=1e-12)
    np.testing.assert_allclose(facts.stability, mixed / moment, rtol=1e-12)
    np.testing.assert_allclose(facts.edge, (1 / slope, 1 - moment / slope), rtol=1e-12)


def test_without_declared_kinks_the_error_says_so():
    bent = Activation("bent", lambda x: jnp.where(x <= 0.3, 0.1 * x, x - 0.27))
    exact, guessed = activation_facts(bent, kinks=[0.3]), activation_facts(bent)
    assert exact.error < 1e-13
    assert guessed.error > 1e-12
    assert abs(guessed.backward_gain / exact.backward_gain - 1) <= 3 * guessed.error


def test_inside_jit_and_vmap_and_in_float32():
    expected = activation_facts("gelu").gain
    assert jax.jit(lambda x: x * activation_facts("gelu").gain)(1.0) == np.float32(expected)
    assert (
        jax.vmap(lambda x: x * second_moment(get(jnp.tanh)))(jnp.ones(2)) == np.float32(second_moment(get("tanh")))
    ).all()
    assert activation_facts("gelu").gain == expected


def test_second_moment_of_units_with_several_inputs():
    square = quad(lambda z: expit(z) ** 2 * density(z), -12, 12)[0]
    gated = Activation("glu", get("glu").fn, inputs=2)
    np.testing.assert_allclose(second_moment(gated), square, rtol=1e-10)
    crossed = Activation("crossed", lambda x: jnp.abs(x[..., :1] - x[..., 1:]), inputs=2)  # a kink where both tie
    np.testing.assert_allclose(second_moment(crossed), 2, rtol=1e-10)
    mixed = Activation("mixed", lambda x: jnp.tanh(x[..., :1] + x[..., 1:]), inputs=2)
    expected = dblquad(lambda b, a: math.tanh(a + b) ** 2 * density(a) * density(b), -9, 9, -9, 9, epsabs=1e-9)[0]
    np.testing.assert_allclose(second_moment(mixed), expected, rtol=1e-8)
    np.testing.assert_allclose(second_moment(maxout(2)), 1, rtol=1e-12)
    np.testing.assert_allclose(second_moment(get("crelu")), 1 / 2, rtol=1e-9)


def test_second_moment_takes_names_and_callables():
    assert second_moment("relu") == second_moment(get("relu"))
    np.testing.assert_allclose(
        second_moment(Activation("erf", jax.lax.erf)), 2 / math.pi * math.asin(2 / 3), rtol=1e-12
    )
    np.testing.assert_allclose(quad(lambda z: erf(z) ** 2 * density(z), -9, 9)[0], 2 / math.pi * math.asin(2 / 3))


def test_errors():
    with pytest.raises(ValueError, match="glu takes 2 pre-activations to 1 outputs; expected an elementwise"):
        activation_facts("glu")
    with pytest.raises(ValueError, match=r"wide: 3 pre-activations feed one output; .* Give the record its gain"):
        second_moment(Activation("wide", lambda x: x[..., :1], inputs=3))
    with pytest.raises(ValueError, match="q=0; expected a variance above 0"):
        length_map("relu", 0)
    with pytest.raises(ValueError, match=r"c=1\.5; expected a correlation"):
        correlation_map("relu", 1.5)
