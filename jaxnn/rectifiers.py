"""Activations that let the positive side pass: piecewise linear and quadratic, with a curved tail, and smooth ones.

Most are written with the two parts of x = max(x, 0) + min(x, 0), where min(x, 0) has derivative 1 at 0: at its kink a
rectifier has its left derivative, as 'x > 0 ? right : left' reads.
"""

import math

import jax
import jax.numpy as jnp

from .dtypes import floating
from .sigmoids import hard_tanh, isru, sigmoid


@floating
def relu(x):
    """max(x, 0). Source: Fukushima 1969; Nair & Hinton 2010; Glorot, Bordes & Bengio 2011."""
    return jnp.where(x <= 0, 0, x)


def _negative(x):
    return jnp.where(x <= 0, x, 0)


def _fold(x):
    """−|x| with derivative 1 at 0, as relu has 0 there: together they have the derivatives of the left side."""
    return jnp.where(x <= 0, x, -x)


@jax.custom_jvp
def _expm1(x):
    return jnp.expm1(x)


@_expm1.defjvp
def _(primals, tangents):
    return _expm1(*primals), jnp.exp(*primals) * tangents[0]  # of 1 + expm1(x), nothing would be left far out


@floating
def leaky_relu(x, slope=0.01):
    """x where x > 0, slope · x elsewhere. Source: Maas, Hannun & Ng 2013."""
    return jnp.where(x <= 0, slope * x, x)


@floating
def prelu(x, slope):
    """x where x > 0, a x elsewhere, a trainable. Source: He et al. 2015."""
    return jnp.where(x <= 0, slope * x, x)


@floating
def rrelu(x, low=1 / 8, high=1 / 3, key=None):
    """x where x > 0, a x elsewhere, a ~ U(low, high) or without a key its mean. Source: Xu, Wang, Chen & Li 2015."""
    if key is None:
        return leaky_relu(x, (low + high) / 2)
    return leaky_relu(x, jax.random.uniform(key, x.shape, x.dtype, low, high))


@floating
def relu6(x):
    """min(max(x, 0), 6). Source: Krizhevsky 2010."""
    return hard_tanh(x, 0, 6)


@floating
def threshold(x, theta=1.0, value=0.0):
    """x where x > θ, value elsewhere. Source: Konda, Memisevic & Krueger 2014."""
    return jnp.where(x <= theta, value, x)


@floating
def tlu(x, tau):
    """max(x, τ), τ trainable. Source: Singh & Krishnan 2019."""
    return jnp.where(x <= tau, tau, x)


@floating
def squared_relu(x):
    """max(x, 0)². Source: So et al. 2021."""
    return jnp.square(relu(x))


@floating
def star_relu(x, scale, bias):
    """s · max(x, 0)² + b, s and b trainable: at first mean 0 and variance 1. Source: Yu et al. 2022."""
    above = relu(x)
    return scale * above * above + bias


@floating
def elu(x, alpha=1.0):
    """x where x > 0, α (eˣ − 1) elsewhere. Source: Clevert, Unterthiner & Hochreiter 2015."""
    return relu(x) + alpha * _expm1(_negative(x))


@floating
def selu(x):
    """λ · elu(x, α), λ = 1.0507…, α = 1.6733…: keeps mean 0 and variance 1. Source: Klambauer et al. 2017."""
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


@floating
def celu(x, alpha=1.0):
    """max(x, 0) + min(0, α (e^(x/α) − 1)). Source: Barron 2017."""
    return relu(x) + alpha * _expm1(_negative(x) / alpha)


@floating
def isrlu(x, alpha=1.0):
    """x where x > 0, x / √(1 + α x²) elsewhere. Source: Carlile et al. 2017."""
    return relu(x) + isru(_negative(x), alpha)


@floating
def xielu(x, positive, negative, beta=0.5):
    """α₊x² + βx where x > 0, α₋(eˣ − 1 − x) + βx elsewhere. Source: Huang & Schlag 2024.

    α₊ = softplus(positive) and α₋ = β + softplus(negative); positive and negative are trainable.
    """
    above, below, extra = relu(x), _negative(x), softplus(negative)
    return above * (softplus(positive) * above + beta) + (beta + extra) * jnp.expm1(below) - extra * below


@floating
@jax.custom_jvp
def softplus(x, beta=1.0):
    """log(1 + e^(βx)) / β. Source: Dugas et al. 2001."""
    return relu(x) + jnp.log1p(jnp.exp(_fold(beta * x))) / beta


@softplus.__wrapped__.defjvp
def _(primals, tangents):
    (x, beta), (dx, dbeta) = primals, tangents
    value, slope = softplus(x, beta), sigmoid(beta * x)
    return value, slope * dx + (x * slope - value) / beta * dbeta


@floating
@jax.custom_jvp
def shifted_softplus(x):
    """log(½ + ½ eˣ) = softplus(x) − log 2. Source: Schütt et al. 2017."""
    return relu(x) + jnp.log1p(jnp.expm1(_fold(x)) / 2)


@shifted_softplus.__wrapped__.defjvp
def _(primals, tangents):
    return shifted_softplus(*primals), sigmoid(*primals) * tangents[0]


@floating
@jax.custom_jvp
def squareplus(x, b=4.0):
    """(x + √(x² + b)) / 2. Source: Barron 2021."""
    size, _, less = _squareplus_parts(x, b)
    return jnp.where(x < 0, 0, size) + less  # no cancellation on the left


@squareplus.__wrapped__.defjvp
def _(primals, tangents):
    (x, b), (dx, db) = primals, tangents
    _, root, less = _squareplus_parts(x, b)
    return squareplus(x, b), dx * jnp.where(x < 0, less / root, 1 - less / root) + db / 4 / root


def _squareplus_parts(x, b):
    """|x|, r = √(x² + b) and (r − |x|) / 2 = b / 2 / (r + |x|)."""
    size = jnp.where(x < 0, -x, x)
    within = jnp.minimum(size, math.sqrt(float(jnp.finfo(jnp.result_type(x)).max)) / 2)  # beyond, r is |x|
    root = jnp.maximum(jnp.sqrt(within * within + b), size)
    return size, root, b / 2 / (root + size)


@floating
def sparse_plus(x):
    """0 where x ≤ −1, (x + 1)² / 4 between, x where x ≥ 1. Source: Blondel, Martins & Niculae 2020."""
    return jnp.where(x >= 1, x, jnp.square(hard_tanh(x) + 1) / 4)


@floating
def crelu(x):
    """[max(x, 0), max(−x, 0)]: two outputs for one input. Source: Shang et al. 2016."""
    return jnp.concatenate([relu(x), relu(-x)], axis=-1)
