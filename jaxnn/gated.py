"""Gates: x · g(x), where the input is its own gate, and a · g(b), where half of the inputs are the gate of the others.

x · g(x) tends to 0 on the left although x tends to −∞; the inputs are cut off where the product has underflowed.
"""

import math

import jax
import jax.numpy as jnp

from .dtypes import floating
from .rectifiers import relu, softplus
from .sigmoids import exp_fold, hard_sigmoid, hard_tanh, sigmoid, tanh

_UNDERFLOWN = -1000.0  # e^−1000 is 0 in every format, −1000 is finite in every one


@floating
@jax.custom_jvp
def silu(x):
    """x σ(x). Source: Hendrycks & Gimpel 2016; Elfwing, Uchibe & Doya 2017."""
    return jnp.maximum(x, _UNDERFLOWN) * jax.lax.logistic(x)


@silu.__wrapped__.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    u = exp_fold(x)
    gate = jnp.where(x <= 0, u, 1) * (1 + u)
    rest = jnp.clip(x, _UNDERFLOWN, -_UNDERFLOWN) * u
    # σ(x) + x σ′(x), the division as in `sigmoids`; halved, the product is no larger than dx.
    return silu(x), dx / (jnp.square(1 + u) / 2) * ((gate + rest) / 2)


@floating
def swish(x, beta):
    """x σ(βx), β trainable. Source: Ramachandran, Zoph & Le 2017."""
    return jnp.where(beta * x < _UNDERFLOWN, 0, x) * sigmoid(beta * x)


@floating
def quick_gelu(x):
    """x σ(1.702 x). Source: Hendrycks & Gimpel 2016."""
    return jnp.maximum(x, _UNDERFLOWN) * sigmoid(1.702 * jnp.clip(x, _UNDERFLOWN, -_UNDERFLOWN))


@floating
@jax.custom_jvp
def gelu(x):
    """x Φ(x), Φ the standard normal distribution function. Source: Hendrycks & Gimpel 2016."""
    return jnp.maximum(x, -40) * _normal_gate(x)[1]


@gelu.__wrapped__.defjvp
def _(primals, tangents):
    c, gate = _normal_gate(*primals)
    return gelu(*primals), tangents[0] * (gate + c * jnp.exp(-c * c / 2) / math.sqrt(2 * math.pi))


def _normal_gate(x):
    """x cut off where the gate is 0 or 1, and the gate Φ(x); 1 + erf would lose its left tail."""
    c = jnp.clip(x, -40, 40)
    return c, jax.lax.erfc(c * -math.sqrt(1 / 2)) / 2


@floating
def gelu_tanh(x):
    """½ x (1 + tanh(√(2/π) (x + 0.044715 x³))). Source: Hendrycks & Gimpel 2016."""
    c = jnp.clip(x, -30, 30)  # beyond, the gate is 0 or 1; ½ (1 + tanh u) = σ(2u)
    return jnp.maximum(x, -30) * sigmoid(2 * math.sqrt(2 / math.pi) * (c + 0.044715 * c * c * c))


@floating
def clipped_gelu(x):
    """min(max(x Φ(x), −10), 10). Source: Hugging Face Transformers, gelu_10."""
    return hard_tanh(gelu(x), -10, 10)


@floating
def hard_swish(x):
    """x · min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019."""
    return jnp.maximum(x, -3) * hard_sigmoid(x)


@floating
def hard_mish(x):
    """½ x · min(max(x + 2, 0), 2). Source: Misra 2020, H-Mish."""
    return jnp.maximum(x, -2) * (hard_tanh(x + 2, 0, 2) / 2)


@floating
@jax.custom_jvp
def mish(x):
    """x tanh(log(1 + eˣ)). Source: Misra 2019."""
    return jnp.maximum(x, _UNDERFLOWN) * _mish_gate(x)[0]


@mish.__wrapped__.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    gate, slope = _mish_gate(x)
    return mish(x), dx * (gate + jnp.clip(x, _UNDERFLOWN, -_UNDERFLOWN) * slope)


def _mish_gate(x):
    """tanh(log(1 + eˣ)) = n (n + 2) / (n² + 2n + 2), n = eˣ, and its derivative; on the right in 1 / n."""
    u, left = exp_fold(x), x <= 0
    w = 1 / jnp.where(left, u * u + 2 * u + 2, 1 + 2 * u + 2 * u * u)
    return jnp.where(left, u * (u + 2), 1 + 2 * u) * w, jnp.where(left, u, u * u) * 4 * (1 + u) * w * w


@floating
@jax.custom_jvp
def serf(x):
    """x erf(log(1 + eˣ)). Source: Nag et al. 2021."""
    return jnp.maximum(x, _UNDERFLOWN) * jax.lax.erf(softplus(x))


@serf.__wrapped__.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    soft = jnp.minimum(softplus(x), 40)
    slope = 2 / math.sqrt(math.pi) * jnp.exp(-soft * soft) * sigmoid(x)
    return serf(x), dx * (jax.lax.erf(soft) + jnp.clip(x, _UNDERFLOWN, -_UNDERFLOWN) * slope)


@floating
@jax.custom_jvp
def golu(x):
    """x e^(−e^(−x)). Source: Das et al. 2025."""
    c = jnp.maximum(x, -10)  # where the gate is 0 already
    return c * jnp.exp(-jnp.exp(-c))


@golu.__wrapped__.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    c = jnp.clip(x, -10, -_UNDERFLOWN)
    u = jnp.exp(-c)
    return golu(x), dx * (jnp.exp(-u) + c * jnp.exp(-u - c))


@floating
def tanh_exp(x):
    """x tanh(eˣ). Source: Liu & Di 2020."""
    return jnp.maximum(x, _UNDERFLOWN) * tanh(jnp.exp(jnp.minimum(x, 4)))  # tanh(e⁴) = 1; eˣ would overflow


@floating
def lisht(x):
    """x tanh x. Source: Roy et al. 2019."""
    return x * tanh(jnp.clip(x, _UNDERFLOWN, -_UNDERFLOWN))


@floating
def gcu(x):
    """x cos x. Source: Noel et al. 2021."""
    return x * jnp.cos(x)


@floating
def sinlu(x, a, b):
    """(x + a sin(bx)) σ(x), a and b trainable. Source: Paul et al. 2022."""
    return (x + a * jnp.sin(b * x)) * sigmoid(x)


@floating
def glu(x):
    """a σ(b) with (a, b) the halves of x. Source: Dauphin et al. 2017."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * sigmoid(b)


@floating
def reglu(x):
    """a max(b, 0) with (a, b) the halves of x. Source: Shazeer 2020."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * relu(b)


@floating
def geglu(x):
    """a b Φ(b) with (a, b) the halves of x. Source: Shazeer 2020."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * gelu(b)


@floating
def swiglu(x):
    """a b σ(b) with (a, b) the halves of x. Source: Shazeer 2020."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * silu(b)


@floating
def bilinear(x):
    """a b with (a, b) the halves of x. Source: Dauphin et al. 2017; Shazeer 2020."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * b
