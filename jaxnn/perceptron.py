"""The threshold unit, Rosenblatt's rule, and the exact integers by which it proves that a line exists, or none.

Throughout, an example is its signed input vᵢ = sᵢ·(xᵢ, 1) with sᵢ = +1 for label 1 and −1 for label 0: weights w,
the bias last, separate the classes exactly when vᵢ·w > 0 for every i.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Unit(NamedTuple):
    """A threshold unit, y = [w·x + b > 0] (McCulloch & Pitts 1943).

    >>> Unit((2, 2), -3)(jnp.array([[0, 1], [1, 1]])).tolist()
    [0, 1]
    """

    weight: tuple | np.ndarray | jax.Array  # (features,)
    bias: int | np.ndarray | jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """The unit's output, 0 or 1, for x (..., features): int32 (...)."""
        return (x @ jnp.asarray(self.weight, x.dtype) + jnp.asarray(self.bias, x.dtype) > 0).astype(jnp.int32)


# Weights set by hand: the line x₁ + x₂ = 3/2 or ½, times two.
AND = Unit((2, 2), -3)
NAND = Unit((-2, -2), 3)
OR = Unit((2, 2), -1)
NOR = Unit((-2, -2), 1)


def xor(x: jax.Array) -> jax.Array:
    """XOR, which no single unit computes, of three: (x₁ OR x₂) AND (x₁ NAND x₂).

    Args: x (..., 2) of zeros and ones. Returns int32 (...).

    >>> xor(jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])).tolist()
    [0, 1, 1, 0]
    """
    return AND(jnp.stack([OR(x), NAND(x)], axis=-1))


class Training(NamedTuple):
    """What Rosenblatt's rule leaves behind."""

    weights: jax.Array  # (features + 1,) int32, the bias last
    mistakes: jax.Array  # () int32, in all passes together
    passes: jax.Array  # () int32
    converged: jax.Array  # () bool: the last pass made no mistake
    counts: jax.Array  # (rows,) int32, mistakes per row: of the run if it converged, else since the compared weights


class _State(NamedTuple):
    weights: jax.Array
    counts: jax.Array
    passes: jax.Array
    converged: jax.Array
    compared_weights: jax.Array  # those after the latest power of two of passes
    compared_counts: jax.Array


def _signed(x, y):
    return (2 * y - 1)[..., None] * jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def rosenblatt(x: jax.Array, y: jax.Array, passes: int = 10_000) -> Training:
    """Rosenblatt's rule from w = 0, row after row: where vᵢ·w ≤ 0, a mistake, w ← w + vᵢ; until that proves something.

    A pass without a mistake proves that w separates. If none does, the weights stay bounded (Block & Levin 1970), and
    integers that are bounded repeat: the mistakes cᵢ made between two equal weights prove that Σ cᵢvᵢ = 0. Brent's
    method finds them: the weights are compared with those at the latest power of two of passes.

    Args: x (rows, features), integers; y (rows,), labels 0 and 1; passes, the most to make. A pure function, made to be
    vmapped over y. Exact while R²·mistakes < 2³¹, R² = maxᵢ ‖vᵢ‖².
    Returns a Training, whose counts are evidence for `verdict`.

    >>> x = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> rosenblatt(x, jnp.array([0, 0, 0, 1])).weights.tolist()  # AND
    [3, 2, -4]
    >>> rosenblatt(x, jnp.array([0, 1, 1, 0])).counts.tolist()  # XOR
    [1, 1, 1, 1]
    """
    if not jnp.issubdtype(x.dtype, jnp.integer) or not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"rosenblatt: x has dtype {x.dtype}, y {y.dtype}; the proofs need integers: x.astype('int32')")
    signed = _signed(x.astype(jnp.int32), y.astype(jnp.int32))

    def visit(weights, v):
        mistake = ((v * weights).sum() <= 0).astype(jnp.int32)
        return weights + mistake * v, mistake

    def repeated(state):
        return (state.passes > 0) & (state.weights == state.compared_weights).all()

    def unproven(state):
        return (state.passes < passes) & ~state.converged & ~repeated(state)

    def one_pass(state):
        power_of_two = (state.passes & (state.passes - 1)) == 0
        weights, mistakes = lax.scan(visit, state.weights, signed)
        return _State(
            weights,
            state.counts + mistakes,
            state.passes + 1,
            (mistakes == 0).all(),
            jnp.where(power_of_two, state.weights, state.compared_weights),
            jnp.where(power_of_two, state.counts, state.compared_counts),
        )

    weights, counts, none = jnp.zeros_like(signed[0]), jnp.zeros_like(signed[:, 0]), jnp.int32(0)
    start = _State(weights, counts, none, jnp.bool_(False), weights, counts)
    end = lax.while_loop(unproven, one_pass, start)
    evidence = jnp.where(end.converged, end.counts, end.counts - end.compared_counts)
    return Training(end.weights, end.counts.sum(dtype=jnp.int32), end.passes, end.converged, evidence)


def _exact(x, y) -> np.ndarray:
    """The signed inputs (..., rows, features + 1) in Python's integers, which cannot overflow."""
    x, y = np.asarray(x), np.asarray(y)
    for name, array in (("x", x), ("y", y)):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} has dtype {array.dtype}; exact proofs need integers: {name}.astype('int32')")
    if x.ndim != 2 or x.shape[:1] != y.shape[-1:] or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"x has shape {x.shape}, y {y.shape}; expected (rows, features) and (..., rows), labels 0 and 1"
        )
    inputs = np.concatenate([x, np.ones_like(x[:, :1])], axis=1).astype(object)
    return (2 * y.astype(object) - 1)[..., None] * inputs


def verdict(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What mistake counts c prove about the labels y of the points x, by w = Σ cᵢvᵢ, in exact integers on the host.

    +1, a hyperplane separates them: vᵢ·w > 0 for every i. −1, none does: c ≥ 0, c ≠ 0 and w = 0, for a separating u
    would give 0 = w·u = Σ cᵢ(vᵢ·u) > 0 (Gordan 1873: always one of the two is possible, never both). 0: nothing proven.

    Args: x (rows, features), y (..., rows), counts (..., rows), all integers. Returns int8 (...).

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> verdict(x, np.array([[0, 1, 1, 0], [0, 0, 0, 1]]), np.array([[1, 1, 1, 1], [1, 0, 0, 1]])).tolist()
    [-1, 0]
    """
    signed = _exact(x, y)
    counts = np.asarray(counts)
    if not np.issubdtype(counts.dtype, np.integer) or counts.shape != signed.shape[:-1]:
        raise ValueError(
            f"counts: {counts.dtype}, shape {counts.shape}; expected integers of shape {signed.shape[:-1]}"
        )
    weights = (counts.astype(object)[..., None] * signed).sum(-2)
    separates = ((signed * weights[..., None, :]).sum(-1) > 0).all(-1)
    cancels = (weights == 0).all(-1) & (counts >= 0).all(-1) & (counts > 0).any(-1)
    return separates.astype(np.int8) - cancels.astype(np.int8)


class Certificate(NamedTuple):
    """A proof about labelled points, checked in exact integers: `verdict(x, y, counts)` repeats the check."""

    separable: bool
    counts: np.ndarray  # (rows,) c
    weights: np.ndarray  # (features + 1,) Σ cᵢvᵢ: a separating hyperplane, the bias last, or zero


def certificate(x: np.ndarray, y: np.ndarray, passes: int = 10_000) -> Certificate:
    """Decide by Rosenblatt's rule whether a hyperplane separates labelled integer points, and prove it.

    Args: x (rows, features) and y (rows,), integers, labels 0 and 1; passes, the most the rule may make.
    Returns a Certificate. Raises ValueError where that many passes prove nothing.

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> certificate(x, np.array([0, 1, 1, 0]))
    Certificate(separable=False, counts=array([1, 1, 1, 1]), weights=array([0, 0, 0]))
    """
    signed = _exact(x, y)
    if not len(signed):
        raise ValueError("certificate: no rows; expected one or more")
    mistakes = passes * len(signed)
    if mistakes * (signed**2).sum(-1).max() >= 2**31:
        raise ValueError(
            f"certificate: {mistakes} mistakes of such inputs could overflow int32; scale x or lower passes"
        )
    training = jax.jit(rosenblatt, static_argnames="passes")(jnp.asarray(x), jnp.asarray(y), passes)
    counts = np.asarray(training.counts, np.int64)
    proven = verdict(x, y, counts)
    if proven == 0:
        raise ValueError(f"certificate: nothing proven after passes={passes}; allow more")
    return Certificate(bool(proven > 0), counts, (counts @ signed).astype(np.int64))


def novikoff_bound(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The most mistakes that Rosenblatt's rule from w = 0 can make: (R/γ)² (Novikoff 1962).

    R = maxᵢ ‖vᵢ‖, and γ = minᵢ vᵢ·u/‖u‖ for any u that separates: each gives a valid bound, that of the largest margin
    the tightest. Squares and products are exact integers; only the quotient is rounded.

    Args: x (rows, features), y (..., rows), weights u (..., features + 1), all integers. Returns float64 (...).
    Raises ValueError where the weights do not separate.

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> novikoff_bound(x, np.array([0, 0, 0, 1]), np.array([2, 2, -3])).item()
    51.0
    """
    signed = _exact(x, y)
    weights = np.asarray(weights).astype(object)
    margin = (signed * weights[..., None, :]).sum(-1).min(-1)
    if np.any(margin <= 0):
        raise ValueError(
            f"novikoff_bound: the smallest vᵢ·u is {np.min(margin)}; expected weights that separate, all > 0"
        )
    return np.asarray((signed**2).sum(-1).max(-1) * (weights**2).sum(-1) / margin**2, np.float64)


def maximum_margin(x: jax.Array, y: jax.Array, sweeps: int = 1_000) -> jax.Array:
    """Weights of the largest margin of separable points: minimize ‖w‖² subject to vᵢ·w ≥ 1.

    Hildreth's method, coordinate ascent on the dual: w = Σ aᵢvᵢ, row after row aᵢ ← max(0, aᵢ + (1 − vᵢ·w)/‖vᵢ‖²).

    Args: x (rows, features), y (rows,); sweeps over the rows. Returns float32 (features + 1,), the bias last; without
    meaning where nothing separates. A pure function.

    >>> maximum_margin(jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([0, 0, 0, 1])).round(2).tolist()  # AND
    [2.0, 2.0, -3.0]
    """
    signed = _signed(x, y).astype(jnp.float32)

    def visit(weights, row):
        v, a = row
        step = jnp.maximum(-a, (1 - (v * weights).sum()) / (v * v).sum())
        return weights + step * v, a + step

    def sweep(state, _):
        weights, dual = lax.scan(visit, state[0], (signed, state[1]))
        return (weights, dual), None

    start = jnp.zeros_like(signed[0]), jnp.zeros_like(signed[:, 0])
    (weights, _), _ = lax.scan(sweep, start, length=sweeps)
    return weights
