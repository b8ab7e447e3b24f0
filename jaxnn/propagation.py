"""How signals and gradients pass through wide random layers: gains, the length map, the edge of chaos.

z is standard normal, φ the activation, weights N(0, σ_w²/fan_in), biases N(0, σ_b²).

    gain            1/√E[φ(z)²]                      length map   V(q) = σ_w² E[φ(√q z)²] + σ_b²
    backward gain   1/√E[φ′(z)²]                     χ₁           σ_w² E[φ′(√q* z)²] at the fixed point q* of V

The expectations are Gauss-Legendre quadratures on panels over [−10, 10], cut at the kinks, in float64 on the host.

Source: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.activations import Activation, get

_REACH = 10.0  # beyond ten standard deviations the density is below 1e-22
_PANEL = 2.5


class ActivationFacts(NamedTuple):
    """What the quadrature says about an activation; float64 numbers."""

    gain: float  # 1/√E[φ(z)²]
    backward_gain: float  # 1/√E[φ′(z)²]; NaN where the derivative is zero almost everywhere
    mean: float  # E[φ(z)]
    chi_1: float  # E[φ′²]/E[φ²] at q = 1 with matched weights: below 1 gradients vanish, above they explode
    slope: float  # V′(1) with matched weights, E[φ² (z² − 1)]/(2 E[φ²]), which includes the jumps of φ
    monotone: bool  # on a grid over [−10, 10]
    edge: tuple[float, float]  # (σ_w², σ_b²) of the edge of chaos at q = 1; NaN where σ_b² would be negative
    error: float  # estimate of the relative error of the moments

    @property
    def stable(self) -> bool:
        """Does the length map with matched weights return to 1 after a disturbance?"""
        return abs(self.slope) <= 1 + 1e-9


def expectation(function: Callable, q: float = 1.0, kinks: Sequence[float] = (), nodes: int = 40) -> np.ndarray:
    """E[f(√q z)], z standard normal.

    Args:
      function: of a float64 array (n,); returns (..., n).
      q: the variance.
      kinks: where the function or its derivative jumps; without them the error is that of a kink inside a panel.
      nodes: of each panel.

    Returns:
      (...) float64.

    >>> float(expectation(lambda x: x * x, q=4.0).round(12))
    4.0
    """
    z, weight = _nodes(tuple(k / math.sqrt(q) for k in kinks), nodes)
    return _host(function)(math.sqrt(q) * z) @ weight


def _nodes(kinks, nodes):
    """Nodes and weights of E over a standard normal z."""
    cuts = np.arange(-_REACH, _REACH + _PANEL / 2, _PANEL)
    cuts = np.unique(np.concatenate([cuts, [k for k in kinks if abs(k) < _REACH]]))
    x, w = np.polynomial.legendre.leggauss(nodes)
    half, middle = np.diff(cuts)[:, None] / 2, (cuts[1:] + cuts[:-1])[:, None] / 2
    z = (middle + half * x).ravel()
    return z, (half * w).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _host(function):
    """The function of a float64 NumPy array, evaluated now, even inside a trace, whatever the caller's dtype."""

    def evaluate(x):
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return np.asarray(jax.jit(function)(jnp.asarray(x, jnp.float64)))

    return evaluate


def _value_and_slope(fn):
    return jax.vmap(jax.value_and_grad(fn))


def _with_initial_params(record: Activation) -> Callable:
    return lambda x: record.fn(x, *(jnp.asarray(value, x.dtype) for _, value in record.params))


@cache
def activation_facts(activation, kinks: Sequence[float] | None = None) -> ActivationFacts:
    """Gain, backward gain, χ₁, V′(1), monotonicity and the edge of chaos of any elementwise activation.

    Args:
      activation: a name, an `Activation` or a callable.
      kinks: where the function or its derivative jumps, as a tuple; the record's own where None. With all of them
        declared the moments are accurate to 1e-10.

    Returns:
      `ActivationFacts`, with an estimate of the error.

    Raises:
      ValueError: the activation is not elementwise, or it is nowhere finite.

    >>> round(activation_facts("relu").gain ** 2, 12)
    2.0
    """
    record = get(activation)
    if (record.inputs, record.outputs) != (1, 1):
        raise ValueError(
            f"{record.name} is not elementwise; expected a function of one number (second_moment takes gates)"
        )
    kinks = tuple(k for k, _ in record.kinks) if kinks is None else tuple(kinks)
    fn = _with_initial_params(record)

    def moments(x):
        value, slope = _value_and_slope(fn)(x)
        return jnp.stack([value, value * value, slope * slope, value * value * (x * x - 1) / 2])

    fine = expectation(moments, kinks=kinks)
    mean, square, slope_square, growth = map(float, fine)
    if not np.all(np.isfinite(fine)) or square == 0:
        raise ValueError(
            f"{record.name}: E[φ(z)²] is {square}; expected a function that is finite on [−10, 10] and not 0"
        )
    # Panels that are cut elsewhere see another error at an undeclared kink.
    coarse = expectation(moments, kinks=(*kinks, 0.1234, -0.4321, 1.9), nodes=27)
    error = float(np.max(np.abs(fine - coarse) / np.maximum(np.abs(fine), math.sqrt(square))))
    grid = _host(fn)(np.linspace(-10, 10, 20_001))
    rises = np.diff(grid)
    tolerance = 1e-12 * np.max(np.abs(grid))
    bias = 1 - square / slope_square if slope_square > 0 else math.nan
    return ActivationFacts(
        gain=1 / math.sqrt(square),
        backward_gain=1 / math.sqrt(slope_square) if slope_square > 0 else math.nan,
        mean=mean,
        chi_1=slope_square / square,
        slope=growth / square,
        monotone=bool(np.all(rises >= -tolerance) or np.all(rises <= tolerance)),
        edge=(1 / slope_square, bias) if slope_square > 0 and bias >= -1e-12 else (math.nan, math.nan),
        error=error,
    )


def length_map(activation, q: float, weight_variance: float, bias_variance: float = 0.0) -> float:
    """V(q) = σ_w² E[φ(√q z)²] + σ_b², the mean square of the next pre-activation.

    >>> round(length_map("relu", q=3.0, weight_variance=2.0), 12)
    3.0
    """
    record = get(activation)
    fn = _with_initial_params(record)
    return weight_variance * float(expectation(lambda x: fn(x) ** 2, q, [k for k, _ in record.kinks])) + bias_variance


def correlation_map(activation, c: float, q: float, weight_variance: float, bias_variance: float = 0.0) -> float:
    """C(c) = (σ_w² E[φ(u₁) φ(u₂)] + σ_b²)/q, with u₁ = √q z₁ and u₂ = √q (c z₁ + √(1−c²) z₂).

    Args:
      activation: a name, an `Activation` or a callable.
      c: correlation of two pre-activations, within [−1, 1].
      q: their variance, a fixed point of the length map.
      weight_variance: σ_w².
      bias_variance: σ_b².

    Returns:
      The correlation after the next layer.

    >>> round(correlation_map("identity", c=0.5, q=1.0, weight_variance=1.0), 12)
    0.5
    """
    record = get(activation)
    fn, kinks, across = _with_initial_params(record), [k for k, _ in record.kinks], math.sqrt(max(0.0, 1 - c * c))
    z1, w1 = _nodes(tuple(k / math.sqrt(q) for k in kinks), 40)
    total = 0.0
    for z, w in zip(z1, w1, strict=True):
        # The inner panels are cut where u₂ meets a kink, which moves with z₁.
        cuts = tuple((k / math.sqrt(q) - c * z) / across for k in kinks) if across else ()
        z2, w2 = _nodes(cuts, 20)
        u = math.sqrt(q) * np.concatenate([[z], c * z + across * z2])
        values = _host(fn)(u)
        total += w * values[0] * (values[1:] @ w2)
    return float(weight_variance * total + bias_variance) / q


@cache
def second_moment(activation: Activation) -> float:
    """E[φ(z)²] for independent standard normal pre-activations z, the mean over the outputs of one unit.

    Trainable parameters are at their initial values; the slope of a random activation is its mean, as in evaluation.
    A gate takes an integral over two dimensions, maxout of k pieces one over k.

    >>> from jaxnn import get_activation
    >>> round(second_moment(get_activation("swiglu")), 6), round(second_moment(get_activation("crelu")), 6)
    (0.355776, 0.5)
    """
    fn, kinks = _with_initial_params(activation), tuple(k for k, _ in activation.kinks)
    if activation.inputs == 1:
        return float(np.mean(expectation(lambda x: jnp.square(fn(x[:, None])).T, kinks=kinks)))
    z, weight = _nodes((0.0,), max(2, round(1e6 ** (1 / activation.inputs) / 8)) if activation.inputs < 4 else 2)
    axes = np.meshgrid(*[z] * activation.inputs, indexing="ij")
    weights = math.prod(np.meshgrid(*[weight] * activation.inputs, indexing="ij"))
    values = _host(fn)(np.stack(axes, axis=-1).reshape(-1, activation.inputs))
    return float(np.mean(values**2, axis=-1) @ weights.ravel())
