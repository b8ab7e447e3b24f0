"""The perceptron against exact arithmetic, OEIS A000609, linear programming, and certificates made wrong on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, nnls

from jaxnn.data import boolean_function, gate, truth_table
from jaxnn.perceptron import (
    AND,
    NAND,
    NOR,
    OR,
    Unit,
    certificate,
    maximum_margin,
    novikoff_bound,
    rosenblatt,
    verdict,
    xor,
)

SEPARABLE = {1: 4, 2: 14, 3: 104}  # OEIS A000609; four inputs: experiments/gates.py


@pytest.fixture(scope="module", params=SEPARABLE)
def census(request):
    n = request.param
    x, rows = truth_table(n), 2**n
    y = np.array([boolean_function(number, n).y for number in range(2**rows)])
    training = jax.jit(jax.vmap(lambda y: rosenblatt(jnp.asarray(x), y)))(jnp.asarray(y))
    return n, x, y, jax.device_get(training)


def signed(x, y):
    return (2 * y - 1)[..., None] * np.c_[x, np.ones(len(x), int)]


@pytest.mark.parametrize(("unit", "name"), [(AND, "and"), (NAND, "nand"), (OR, "or"), (NOR, "nor"), (xor, "xor")])
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32, jnp.bfloat16])
@pytest.mark.usefixtures("strict")
def test_gates_by_hand(unit, name, dtype):
    y = unit(jnp.asarray(truth_table(2), dtype))
    assert y.dtype == jnp.int32
    assert y.tolist() == gate(name).y.tolist()


def test_a_unit_on_its_own_line_does_not_fire():
    assert Unit((1, 1), -1)(jnp.array([[0, 1], [1, 1]])).tolist() == [0, 1]


def test_census_agrees_with_oeis_and_every_verdict_is_proven(census):
    n, x, y, training = census
    proven = verdict(x, y, training.counts)
    assert (proven == 1).sum() == SEPARABLE[n]
    assert (proven == -1).sum() == len(y) - SEPARABLE[n]
    np.testing.assert_array_equal(proven == 1, training.converged)


def test_the_weights_are_the_mistakes_made(census):
    _, x, y, training = census
    converged = training.converged
    weights = np.einsum("fr,frd->fd", training.counts, signed(x, y))
    np.testing.assert_array_equal(weights[converged], training.weights[converged])
    np.testing.assert_array_equal(weights[~converged], 0)
    np.testing.assert_array_equal(training.counts.sum(1)[converged], training.mistakes[converged])


def test_rule_against_the_loop_in_python(census):
    _, x, y, training = census
    for f in np.linspace(0, len(y) - 1, 20).astype(int):
        weights, mistakes = [0] * (x.shape[1] + 1), 0
        for _ in range(int(training.passes[f])):
            for v in signed(x, y[f]).tolist():
                if sum(map(int.__mul__, v, weights)) <= 0:
                    weights, mistakes = [w + u for w, u in zip(weights, v, strict=True)], mistakes + 1
        assert (weights, mistakes) == (training.weights[f].tolist(), training.mistakes[f])


def test_mistakes_stay_below_novikoffs_bound_at_the_largest_margin(census):
    _, x, y, training = census
    y, run = y[training.converged], jax.tree.map(lambda leaf: leaf[training.converged], training)
    weights = jax.jit(jax.vmap(lambda y: maximum_margin(jnp.asarray(x), y)))(jnp.asarray(y))
    best = novikoff_bound(x, y, np.round(np.asarray(weights) * 2**16).astype(int))
    assert (run.mistakes <= best).all()
    assert (best <= novikoff_bound(x, y, run.weights) * (1 + 1e-4)).all()


def test_maximum_margin_against_least_distance_programming(census):
    """Lawson & Hanson 1974, chapter 23: minimize ‖w‖ subject to Vw ≥ 1 through nonnegative least squares."""
    _, x, y, training = census
    y = y[training.converged][::3]
    found = jax.jit(jax.vmap(lambda y: maximum_margin(jnp.asarray(x), y)))(jnp.asarray(y))
    for w, v in zip(found, signed(x, y), strict=True):
        matrix = np.r_[v.T, np.ones((1, len(v)))].astype(float)
        target = np.r_[np.zeros(len(v.T)), 1.0]
        residual = matrix @ nnls(matrix, target)[0] - target
        np.testing.assert_allclose(w, -residual[:-1] / residual[-1], atol=2e-4)


@pytest.mark.usefixtures("strict")
def test_xor_never_converges():
    training = rosenblatt(jnp.asarray(truth_table(2)), jnp.array([0, 1, 1, 0]))
    assert not training.converged
    assert verdict(truth_table(2), np.array([0, 1, 1, 0]), np.asarray(training.counts)) == -1


@pytest.mark.parametrize(("name", "n", "separable"), [("majority", 7, True), ("parity", 6, False), ("and", 6, True)])
def test_certificates_of_larger_gates(name, n, separable):
    x, y = truth_table(n), gate(name, n).y
    proof = certificate(x, y)
    assert proof.separable is separable
    np.testing.assert_array_equal(proof.weights, proof.counts @ signed(x, y))
    assert ((signed(x, y) @ proof.weights > 0).all()) is np.bool(separable)


points = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 1)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(points)
def test_certificate_agrees_with_linear_programming(rows):
    table = np.resize(np.array(rows), (8, 3))  # repeats rows, which changes no verdict and compiles once
    x, y = table[:, :2], table[:, 2]
    v = signed(x, y)
    feasible = linprog(np.zeros(3), -v, -np.ones(len(v)), bounds=(None, None)).status == 0
    assert certificate(x, y).separable is feasible


@pytest.mark.parametrize("y", [[0, 0, 0, 1], [0, 1, 1, 0]])
def test_a_corrupt_certificate_proves_nothing(y):
    """Negative control: change what a proof rests on, and it must fall."""
    x, y = truth_table(2), np.array(y)
    proof = certificate(x, y)
    assert verdict(x, y, proof.counts) == (1 if proof.separable else -1)
    assert verdict(x, np.r_[1 - y[:1], y[1:]], proof.counts) == 0
    assert verdict(x, y, 0 * proof.counts) == 0
    assert verdict(x, y, -proof.counts) == 0
    assert verdict(x, y, np.array([0, 0, 1, 0])) == 0


def test_negative_counts_do_not_prove_inseparability():
    """Σ cᵢvᵢ = 0 has solutions for AND too, with signs: Gordan's alternative asks for c ≥ 0."""
    assert verdict(truth_table(2), np.array([0, 0, 0, 1]), np.array([1, -1, -1, -1])) == 0


def test_verdict_does_not_overflow():
    x, y = np.array([[2**62], [-(2**62)]]), np.array([1, 0])
    assert verdict(x, y, np.array([2**62, 2**62])) == 1


def test_too_few_passes_prove_nothing():
    with pytest.raises(ValueError, match="nothing proven after passes=2; allow more"):
        certificate(truth_table(2), np.array([0, 0, 0, 1]), passes=2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: rosenblatt(jnp.asarray(x, float), jnp.asarray(y)), TypeError, "proofs need integers"),
        (lambda x, y: certificate(x.astype(float), y), TypeError, "x has dtype float64"),
        (lambda x, y: certificate(x, y + 1), ValueError, "labels 0 and 1"),
        (lambda x, y: certificate(x[:3], y), ValueError, r"x has shape \(3, 2\), y \(4,\)"),
        (lambda x, y: certificate(x[:0], y[:0]), ValueError, "no rows"),
        (lambda x, y: certificate(x * 40_000, y), ValueError, "could overflow int32"),
        (lambda x, y: verdict(x, y, np.ones(3, int)), ValueError, r"shape \(3,\); expected integers of shape \(4,\)"),
        (lambda x, y: verdict(x, y, np.ones(4)), ValueError, "counts: float64"),
        (lambda x, y: novikoff_bound(x, y, np.array([1, 1, 0])), ValueError, "expected weights that separate"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(truth_table(2), np.array([0, 0, 0, 1]))
