"""Elementwise activations φ(x): one pure function each, in the form that stays accurate and differentiable everywhere.

A branch is chosen by `x <= 0`, so that NaN takes the other one and comes through, and so that the derivative at a kink
is the one from the left: ReLU′(0) = 0. `jnp.where` does not protect a gradient from what the untaken branch does to it
(0 · ∞ is NaN), so its argument is made harmless first. Trainable parameters and constants are further arguments.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
RAW_POSITIVE, RAW_NEGATIVE = math.log(math.expm1(0.8)), math.log(math.expm1(0.3))
STAR_SCALE, STAR_SHIFT = 2 / math.sqrt(5), -1 / math.sqrt(5)
_LOG2 = math.log(2)


def _left(x):
    """x where it is at most zero, else 0: a safe argument for the left branch."""
    return jnp.where(x <= 0, x, 0)


def _small(x):
    """x within ±1, else 0: a safe argument for a form that is meant for small x."""
    return jnp.where(jnp.abs(x) < 1, x, 0)


def identity(x):
    """φ(x) = x."""
    return x


def relu(x):
    """φ(x) = max(x, 0)."""
    return jnp.where(x <= 0, 0, x)


def leaky_relu(x, slope=0.01):
    """φ(x) = x where x > 0, else slope · x."""
    return jnp.where(x <= 0, slope * x, x)


def prelu(x, slope=0.25):
    """φ(x) = x where x > 0, else slope · x, with a trainable slope."""
    return jnp.where(x <= 0, slope * x, x)


def rrelu(x, lower=1 / 8, upper=1 / 3, key=None):
    """φ(x) = x where x > 0, else a · x, with a ~ U(lower, upper) where a key is given and the mean slope elsewhere."""
    slope = (lower + upper) / 2 if key is None else jax.random.uniform(key, x.shape, x.dtype, lower, upper)
    return jnp.where(x <= 0, slope * x, x)


def relu6(x):
    """φ(x) = min(max(x, 0), 6)."""
    return jnp.where(x <= 0, 0, jnp.where(x >= 6, 6, x))


def threshold(x, theta=1.0, value=0.0):
    """φ(x) = x where x > θ, else the value."""
    return jnp.where(x <= theta, value, x)


def tlu(x, tau=0.0):
    """φ(x) = max(x, τ), with a trainable τ."""
    return jnp.where(x <= tau, tau, x)


def elu(x, alpha=1.0):
    """φ(x) = x where x > 0, else α (eˣ − 1)."""
    return jnp.where(x <= 0, alpha * jnp.expm1(_left(x)), x)


def selu(x):
    """φ(x) = λ elu(x, α) with the fixed point at mean 0 and variance 1."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def celu(x, alpha=1.0):
    """φ(x) = x where x > 0, else α (e^(x/α) − 1)."""
    return jnp.where(x <= 0, alpha * jnp.expm1(_left(x) / alpha), x)


def gelu(x):
    """φ(x) = x Φ(x) = x erfc(−x/√2) / 2; 1 + erf would lose the left tail."""
    return 0.5 * x * lax.erfc(x * -math.sqrt(0.5))


def gelu_tanh(x):
    """φ(x) = x (1 + tanh u) / 2 = x σ(2u), u = √(2/π) (x + 0.044715 x³)."""
    return x * jax.nn.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def quick_gelu(x):
    """φ(x) = x σ(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def clipped_gelu(x):
    """φ(x) = gelu(x), at most 10."""
    y = gelu(x)
    return jnp.where(y >= 10, 10, y)


def silu(x):
    """φ(x) = x σ(x)."""
    return x * jax.nn.sigmoid(x)


def swish(x, beta=1.0):
    """φ(x) = x σ(βx), with a trainable β."""
    return x * jax.nn.sigmoid(beta * x)


def hard_sigmoid(x):
    """φ(x) = relu6(x + 3) / 6."""
    return relu6(x + 3) / 6


def hard_swish(x):
    """φ(x) = x relu6(x + 3) / 6."""
    return x * hard_sigmoid(x)


def hard_tanh(x):
    """φ(x) = min(max(x, −1), 1)."""
    return jnp.where(x <= -1, -1, jnp.where(x >= 1, 1, x))


def hard_mish(x):
    """φ(x) = x min(max(x + 2, 0), 2) / 2."""
    return 0.5 * x * jnp.where(x <= -2, 0, jnp.where(x >= 0, 2, x + 2))


def mish(x):
    """φ(x) = x tanh(log(1 + eˣ))."""
    return x * jnp.tanh(jax.nn.softplus(x))


def sigmoid(x):
    """φ(x) = σ(x) = 1 / (1 + e^−x)."""
    return jax.nn.sigmoid(x)


def tanh(x):
    """φ(x) = tanh x."""
    return jnp.tanh(x)


def log_sigmoid(x):
    """φ(x) = log σ(x) = −log(1 + e^−x)."""
    return -jax.nn.softplus(-x)


def softplus(x):
    """φ(x) = log(1 + eˣ)."""
    return jax.nn.softplus(x)


def squareplus(x, b=4.0):
    """φ(x) = (x + √(x² + b)) / 2, for x < 0 by the conjugate (b/2) / (√(x² + b) − x)."""
    root = jnp.sqrt(x * x + b)
    return jnp.where(x <= 0, b / 2 / (root - _left(x)), (x + root) / 2)


def sparse_plus(x):
    """φ(x) = 0 up to −1, (x + 1)²/4 up to 1, then x."""
    return jnp.where(x <= -1, 0, jnp.where(x >= 1, x, jnp.square(x + 1) / 4))


def sparse_sigmoid(x):
    """φ(x) = (x + 1)/2, kept within [0, 1]."""
    return jnp.where(x <= -1, 0, jnp.where(x >= 1, 1, (x + 1) / 2))


def soft_sign(x):
    """φ(x) = x / (1 + |x|)."""
    return x / (1 + jnp.abs(x))


def hard_shrink(x, lam=0.5):
    """φ(x) = x where |x| > λ, else 0."""
    return jnp.where(jnp.abs(x) <= lam, 0, x)


def soft_shrink(x, lam=0.5):
    """φ(x) = sign(x) max(|x| − λ, 0)."""
    return jnp.where(jnp.abs(x) <= lam, 0, x - lam * jnp.sign(x))


def tanh_shrink(x):
    """φ(x) = x − tanh x; within ±1 by the continued fraction of tanh, x t/(1 + t) with t = x²/(3 + x²/(5 + …))."""
    small = _small(x)
    square = small * small
    t = jnp.full_like(x, 17)
    for odd in (15, 13, 11, 9, 7, 5, 3):
        t = odd + square / t
    t = square / t
    return jnp.where(jnp.abs(x) < 1, small * t / (1 + t), x - jnp.tanh(x))


def exponential(x):
    """φ(x) = eˣ."""
    return jnp.exp(x)


def log_cosh(x):
    """φ(x) = log cosh x = |x| + log(1 + e^(−2|x|)) − log 2; within ±1 log1p(2 sinh²(x/2))."""
    size = jnp.abs(x)
    near = jnp.log1p(2 * jnp.square(jnp.sinh(_small(x) / 2)))
    return jnp.where(size < 1, near, size + jnp.log1p(jnp.exp(-2 * size)) - _LOG2)


def lisht(x):
    """φ(x) = x tanh x."""
    return x * jnp.tanh(x)


def snake(x, alpha=1.0):
    """φ(x) = x + sin²(αx)/α, with a trainable α; written x + x sin(αx) sinc(αx), which is x at α = 0."""
    turn = alpha * x
    return x + x * jnp.sin(turn) * jnp.sinc(turn / math.pi)


def squared_relu(x):
    """φ(x) = max(x, 0)²."""
    return jnp.square(relu(x))


def laplace(x):
    """φ(x) = ½ (1 + erf((x − μ)/(σ√2))), μ = √½, σ = √(1/4π)."""
    return 0.5 * lax.erfc((math.sqrt(0.5) - x) * math.sqrt(2 * math.pi))


def xielu(x, raw_positive=RAW_POSITIVE, raw_negative=RAW_NEGATIVE, beta=0.5):
    """φ(x) = αₚx² + βx where x > 0, else αₙ(eˣ−1−x) + βx; αₚ = softplus(p), αₙ = β + softplus(n), at first 0.8."""
    positive, negative = jax.nn.softplus(raw_positive), beta + jax.nn.softplus(raw_negative)
    left = _left(x)
    return jnp.where(x <= 0, negative * (jnp.expm1(left) - left), positive * jnp.square(relu(x))) + beta * x


def step(x):
    """φ(x) = 1 where x > 0, else 0."""
    return jnp.maximum(jnp.sign(x), 0)


def bipolar(x):
    """φ(x) = sign(x)."""
    return jnp.sign(x)


def lecun_tanh(x):
    """φ(x) = 1.7159 tanh(2x/3)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


def penalized_tanh(x, slope=0.25):
    """φ(x) = tanh x where x > 0, else a tanh x."""
    y = jnp.tanh(x)
    return jnp.where(x <= 0, slope * y, y)


def arctan(x):
    """φ(x) = arctan x."""
    return jnp.arctan(x)


def isru(x, alpha=1.0):
    """φ(x) = x / √(1 + αx²)."""
    return x / jnp.hypot(jnp.ones_like(x), math.sqrt(alpha) * x)


def isrlu(x, alpha=1.0):
    """φ(x) = x where x > 0, else x / √(1 + αx²)."""
    return jnp.where(x <= 0, isru(_left(x), alpha), x)


def tanh_exp(x):
    """φ(x) = x tanh(eˣ); beyond 5 the inner exponential is clamped, where tanh is 1 in any precision."""
    return x * jnp.tanh(jnp.exp(jnp.where(x >= 5, 5, x)))


def gaussian(x):
    """φ(x) = e^(−x²)."""
    return jnp.exp(-x * x)


def sin(x, omega=1.0):
    """φ(x) = sin(ωx)."""
    return jnp.sin(omega * x)


def cos(x):
    """φ(x) = cos x."""
    return jnp.cos(x)


def gcu(x):
    """φ(x) = x cos x."""
    return x * jnp.cos(x)


def cube(x):
    """φ(x) = x³."""
    return x * x * x


def square(x):
    """φ(x) = x²."""
    return x * x


def absolute(x):
    """φ(x) = |x|."""
    return jnp.abs(x)


def shifted_softplus(x):
    """φ(x) = log(1 + eˣ) − log 2; within ±1 log1p((eˣ − 1)/2)."""
    return jnp.where(jnp.abs(x) < 1, jnp.log1p(jnp.expm1(_small(x)) / 2), jax.nn.softplus(x) - _LOG2)


def star_relu(x, scale=STAR_SCALE, shift=STAR_SHIFT):
    """φ(x) = s max(x, 0)² + b, with trainable s and b; at first mean 0 and variance 1 for standard normal x."""
    return scale * jnp.square(relu(x)) + shift


def sinlu(x, a=1.0, b=1.0):
    """φ(x) = (x + a sin(bx)) σ(x), with trainable a and b."""
    return (x + a * jnp.sin(b * x)) * jax.nn.sigmoid(x)
