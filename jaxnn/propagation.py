"""Signal propagation in wide random networks: gains, length and correlation maps, the edge of chaos.

With weights N(0, σ_w² / fan_in) and biases N(0, σ_b²) a pre-activation is normal with variance q, layer after layer:
q ← V(q) = σ_w² E[φ(√q z)²] + σ_b², z standard normal (Poole et al. 2016; Schoenholz et al. 2017).

The integrals are sums over Gauss-Legendre panels on [−10, 10], split at the kinks: 1e-10 where all kinks are declared.
They are computed at once, in float64, whatever the caller's settings, also inside `jax.jit` and `jax.vmap`.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import activations
from .activations import Activation

_END, _WIDTH, _NODES = 10.0, 2.5, 24
_SHRINK = (1 + math.sqrt(5)) / 2
_CHUNK = 4096  # one shape for all one-dimensional integrals: a function is compiled once


class ActivationFacts(NamedTuple):
    """How an activation carries signals; each integral over one standard normal pre-activation z, so q = 1."""

    gain: float  # 1 / √E[φ(z)²]
    backward_gain: float  # 1 / √E[φ′(z)²]
    chi_1: float  # gain² E[φ′(z)²]: what a layer of this gain does to the mean square of a gradient
    stability: float  # V′(1) of the length map with this gain: between −1 and 1, lengths return to 1
    monotone: bool  # non-decreasing on the grid of the integrals, −10 to 10
    edge: tuple[float, float]  # (σ_w², σ_b²) with fixed point 1 and χ₁ = 1; σ_b² is NaN where there is none
    error: float  # estimate of the largest relative error of the integrals


class _Function(NamedTuple):
    """What the integrals need to know: φ at its initial parameters, and where it is not smooth."""

    fn: Callable
    kinks: tuple[float, ...]
    jumps: bool


@cache
def _function(activation: Activation, kinks) -> _Function:
    if activation.inputs != 1 or activation.outputs != 1:
        raise ValueError(
            f"{activation.name} takes {activation.inputs} pre-activations to {activation.outputs} outputs; expected an "
            "elementwise activation. `second_moment` knows the others."
        )
    where = tuple(float(at) for at, _ in activation.kinks) if kinks is None else tuple(map(float, kinks))
    return _Function(_at_start(activation), where, activation.smoothness == -1)


@cache
def _at_start(activation: Activation) -> Callable:
    """φ at the initial values of its trainable parameters."""
    values = [value for _, value in activation.params]
    return lambda x: activation.fn(x, *(jnp.full_like(x, value) for value in values))


def _declared(activation, kinks) -> _Function:
    return _function(activations.get(activation), None if kinks is None else tuple(kinks))


@cache
def _compiled(fn):
    """φ and φ′ of a vector."""
    return jax.jit(lambda u: jax.jvp(fn, (u,), (jnp.ones_like(u),)))


def _values(fn, u):
    """φ(u) and φ′(u) in float64, on the host, for u of any shape."""
    flat = np.ravel(u)
    chunks = np.pad(flat, (0, -flat.size % _CHUNK)).reshape(-1, _CHUNK)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        parts = [_compiled(fn)(chunk) for chunk in chunks]
    return [np.concatenate([np.asarray(p[i], float) for p in parts])[: flat.size].reshape(np.shape(u)) for i in (0, 1)]


@cache
def _legendre(nodes):
    return np.polynomial.legendre.leggauss(nodes)


def _panels(kinks, width):
    """Nodes z and weights (…, nodes) of the standard normal, from kinks (…, number of kinks), split at each."""
    kinks = np.clip(kinks, -_END, _END)
    ends = np.full((*kinks.shape[:-1], 1), _END)
    breaks = np.sort(np.concatenate([-ends, kinks, ends], axis=-1), axis=-1)
    lengths = np.diff(breaks)
    parts = np.maximum(1, np.ceil(lengths.reshape(-1, lengths.shape[-1]).max(axis=0) / width)).astype(int)
    low = np.repeat(breaks[..., :-1], parts, axis=-1)
    size = np.repeat(lengths / parts, parts, axis=-1)
    low = low + size * np.concatenate([np.arange(n) for n in parts])
    nodes, weights = _legendre(_NODES)
    z = low[..., None] + size[..., None] * (nodes + 1) / 2
    weights = size[..., None] * weights / 2 * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z.reshape(*z.shape[:-2], -1), weights.reshape(*z.shape[:-2], -1)


def _moments(function: _Function, q: float, width=_WIDTH):
    """E[φ²], E[φ′²] and E[φ² (z² − 1)] / 2 = q d/dq E[φ²], with φ and φ′ at √q z."""
    root = math.sqrt(q)
    z, weights = _panels(np.unique([0.0, *function.kinks]) / root, width / max(1, root))
    value, slope = _values(function.fn, root * z)
    return np.array([np.sum(weights * f) for f in (value**2, slope**2, value**2 * (z * z - 1) / 2)]), value


def _converged(function: _Function, q: float):
    """The moments by ever narrower panels until two agree, and an estimate of their relative error.

    At an undeclared kink the error falls with the width of the panels, but erratically: two widths may agree by chance.
    So the differences at all widths count, scaled to the last, and no width is a multiple of the one before.
    Every set is split at 0, where most kinks are; one within 0.003 of 0 is taken to be there.
    """
    width, error, (moments, _) = _WIDTH, 0.0, _moments(function, q)
    for _ in range(9):
        width /= _SHRINK
        (finer, values), before = _moments(function, q, width), moments
        moments = finer
        difference = float(np.max(np.abs(finer - before)[:2] / np.maximum(np.abs(finer[:2]), 1e-300)))
        error = error / _SHRINK + difference
        if difference <= 1e-12:
            return moments, values, difference
    return moments, values, error


def activation_facts(activation, kinks: Sequence[float] | None = None) -> ActivationFacts:
    """Gain, backward gain, χ₁, stability, monotonicity and the edge of chaos of any elementwise activation.

    Args:
      activation: a name, an `Activation` or any elementwise callable; a random one without a key.
      kinks: where the function or a derivative jumps; those of the record where None. Without all kinks declared
        the result is less accurate, and `error` says how much.

    Returns:
      `ActivationFacts`. A function that jumps has no χ₁ and no backward gain: NaN.

    >>> facts = activation_facts("relu")
    >>> round(facts.gain**2, 10), round(facts.chi_1, 10), facts.monotone
    (2.0, 1.0, True)
    """
    function = _declared(activation, kinks)
    (square, slope, spread), values, error = _converged(function, 1.0)
    slope = math.nan if function.jumps else slope
    return ActivationFacts(
        gain=_inverse(math.sqrt(square)),
        backward_gain=_inverse(math.sqrt(slope)),
        chi_1=float(slope * _inverse(square)),
        stability=float(spread * _inverse(square)),
        monotone=bool(np.all(np.diff(values) >= -1e-14 * np.abs(values[1:]))),
        edge=_edge(1.0, square, slope),
        error=error,
    )


def _inverse(x) -> float:
    return float(1 / x) if x else math.inf


def _edge(q, square, slope):
    bias = q - square * _inverse(slope)
    return _inverse(slope), max(0.0, float(bias)) if bias >= -1e-12 * q else math.nan


def edge_of_chaos(activation, q: float = 1.0, kinks: Sequence[float] | None = None) -> tuple[float, float]:
    """The variances that keep both lengths and gradients: σ_w² = 1 / E[φ′(√q z)²], σ_b² = q − σ_w² E[φ(√q z)²].

    With them q is a fixed point of the length map and χ₁ = 1: a point of the edge of chaos for each q.

    Args:
      activation, kinks: as for `activation_facts`.
      q: variance of the pre-activations, above 0.

    Returns:
      Two numbers; σ_b² is NaN where it would be negative: no edge passes there.

    >>> [round(variance, 6) for variance in edge_of_chaos("relu", 3.0)]
    [2.0, 0.0]
    """
    function = _declared(activation, kinks)
    square, slope, _ = _converged(function, _positive(q))[0]
    return _edge(q, square, math.nan if function.jumps else slope)


def length_map(activation, q: float, weight_variance=1.0, bias_variance=0.0, kinks=None) -> float:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b²: the variance of the pre-activations one layer on.

    Args:
      activation, kinks: as for `activation_facts`.
      q: their variance before, above 0.
      weight_variance, bias_variance: σ_w² and σ_b².

    >>> round(length_map("relu", 3.0, weight_variance=2.0), 10)
    3.0
    """
    return float(weight_variance * _converged(_declared(activation, kinks), _positive(q))[0][0] + bias_variance)


def _positive(q):
    if not q > 0:
        raise ValueError(f"q={q}; expected a variance above 0, e.g. 1.0")
    return float(q)


def correlation_map(activation, c: float, q: float = 1.0, weight_variance=None, bias_variance=0.0, kinks=None) -> float:
    """C(c) = (σ_w² E[φ(u₁) φ(u₂)] + σ_b²) / q: the correlation of two inputs' pre-activations one layer on.

    u₁ and u₂ are normal with variance q, a fixed point of the length map, and correlation c.

    Args:
      activation, kinks: as for `activation_facts`.
      c: the correlation before, in [−1, 1].
      q: the fixed point, above 0.
      weight_variance, bias_variance: σ_w² and σ_b²; σ_w² such that q is a fixed point where None.

    >>> round(correlation_map("relu", 0.0), 10)  # 1/π
    0.3183098862
    """
    if not -1 <= c <= 1:
        raise ValueError(f"c={c}; expected a correlation in [−1, 1]")
    function, root = _declared(activation, kinks), math.sqrt(_positive(q))
    if weight_variance is None:
        weight_variance = (q - bias_variance) / _converged(function, q)[0][0]
    # u₁, u₂ = √q (a s ± b d) with s, d independent. For a fixed value of the smaller term both kinks of the other are
    # known, and the integral over it is smooth but where two kinks meet.
    sign = 1 if c >= 0 else -1
    a, b = math.sqrt((1 + abs(c)) / 2), math.sqrt((1 - abs(c)) / 2)
    at = np.array(function.kinks) / root
    pairs = (at[:, None] - sign * at).ravel() / 2
    outer, outer_weights = _panels(pairs / b if b else pairs[:0], _WIDTH / max(1, root * b))
    lines = np.concatenate([at - b * outer[:, None], sign * at + b * outer[:, None]], axis=-1) / a
    inner, inner_weights = _panels(lines, _WIDTH / max(1, root * a))
    first, _ = _values(function.fn, root * (a * inner + b * outer[:, None]))
    second, _ = _values(function.fn, root * sign * (a * inner - b * outer[:, None]))
    mean = np.sum(outer_weights * np.sum(inner_weights * first * second, axis=-1))
    return float((weight_variance * mean + bias_variance) / q)


@cache
def second_moment(activation: Activation) -> float:
    """E[φ(z)²] of one output, its pre-activations independent standard normal, its parameters as they start.

    The gain of the record where it has one, an integral over one or two pre-activations elsewhere; of a random
    activation that of its expectation.

    Args: activation, a name, an `Activation` or any callable.

    Raises ValueError where more than two pre-activations feed an output and the record has no gain.

    >>> round(second_moment("relu"), 9)
    0.5
    """
    record = activations.get(activation)
    return _moment(record) if record.gain is None else record.gain**-2


def _moment(record: Activation) -> float:
    """E[φ²] by integration, the mean over the outputs."""
    if record.inputs > 2:
        raise ValueError(
            f"{record.name}: {record.inputs} pre-activations feed one output; the integral takes 2 at most. Give the "
            "record its gain: Activation(..., gain=1 / √E[φ²])"
        )
    kinks, fn = np.array([float(at) for at, _ in record.kinks]), _at_start(record)
    if record.inputs == record.outputs == 1:
        return float(_converged(_Function(fn, tuple(kinks), False), 1.0)[0][0])
    z, weights = _panels(kinks, _WIDTH)
    units = z[:, None]
    if record.inputs == 2:
        # The second pre-activation, split where it has a kink and where it ties with the first.
        second, second_weights = _panels(np.concatenate([z[:, None], np.tile(kinks, (z.size, 1))], axis=-1), _WIDTH)
        units = np.stack(np.broadcast_arrays(z[:, None], second), axis=-1)
        weights = weights[:, None] * second_weights
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        squares = np.asarray(jax.jit(fn)(units), float) ** 2
    return float(np.sum(weights * np.mean(squares, axis=-1)))
