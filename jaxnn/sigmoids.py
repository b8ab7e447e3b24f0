"""Activations that climb from one level to another: sigmoids, their hard and sparse relatives, and the steps."""

import math

import jax
import jax.numpy as jnp

from .dtypes import floating


def exp_fold(x):
    """e^−|x|, with all derivatives at 0 those of the left side."""
    return jnp.exp(jnp.where(x <= 0, x, -x))


def _times_slope(tangent, x):
    """ẋ σ′(x) with σ′ = u / (1 + u)², u = e^−|x|: of σ (1 − σ), 0 would be left on the right from 17 on."""
    u = exp_fold(x)
    # Backwards the division comes last: XLA on CPU stores a quotient, but makes a product again wherever it is used.
    return tangent / jnp.square(1 + u) * u


@floating
@jax.custom_jvp
def sigmoid(x):
    """σ(x) = 1 / (1 + e⁻ˣ). Source: Rumelhart, Hinton & Williams 1986."""
    return jax.lax.logistic(x)


@sigmoid.__wrapped__.defjvp
def _(primals, tangents):
    return sigmoid(*primals), _times_slope(*tangents, *primals)


@floating
def log_sigmoid(x):
    """log σ(x) = −log(1 + e⁻ˣ). Source: the log-likelihood of logistic regression."""
    left = x <= 0  # on one side all terms have the derivatives of that side; those of min and |x| need not fit at 0
    return jnp.where(left, x, 0) - jnp.log1p(jnp.exp(jnp.where(left, x, -x)))


@floating
def hard_tanh(x, low=-1.0, high=1.0):
    """min(max(x, low), high). Source: Collobert 2004."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))  # jnp.clip has derivative ½ at its ends


@floating
def hard_sigmoid(x):
    """min(max(x + 3, 0), 6) / 6. Source: Courbariaux, Bengio & David 2015; Howard et al. 2019."""
    return hard_tanh(x + 3, 0, 6) / 6


@floating
def sparse_sigmoid(x):
    """min(max((x + 1) / 2, 0), 1). Source: Martins & Astudillo 2016."""
    return (hard_tanh(x) + 1) / 2


@floating
@jax.custom_jvp
def tanh(x):
    """tanh x. Source: LeCun et al. 1998."""
    return _tanh_parts(x)[0]


@tanh.__wrapped__.defjvp
def _(primals, tangents):
    return tanh(*primals), _tanh_parts(*primals)[1] * tangents[0]


def _tanh_parts(x):
    """tanh x and its derivative, (1 − t)(1 + t) with 1 − |t| = 2u / (1 + u), u = e^−2|x|: of 1 − t², 0 would be left.

    In float32 the value comes of the same quotient, which costs less than a second function.
    """
    u = exp_fold(2 * x)
    rest = 2 * u / (1 + u)
    if x.dtype == jnp.float64:
        return jnp.tanh(x), rest * (2 - rest)
    y = x * x
    # A polynomial fitted to |x| < 0.3, where the difference of 1 and nearly 1 has lost digits.
    near = x + x * y * (-0.3333327 + y * (0.13321771 + y * -0.05083647))
    far = jnp.where(x < 0, rest - 1, 1 - rest)
    return jnp.where(jnp.abs(x) < 0.3, near, far), rest * (2 - rest)


@floating
def lecun_tanh(x):
    """1.7159 tanh(2x / 3). Source: LeCun et al. 1998, Efficient BackProp."""
    return 1.7159 * tanh(x * (2 / 3))


@floating
def penalized_tanh(x, slope=0.25):
    """tanh x where x > 0, slope · tanh x elsewhere. Source: Xu, Huang & Li 2016; Eger, Youssef & Gurevych 2018."""
    t = tanh(x)
    return jnp.where(x <= 0, slope * t, t)


@floating
@jax.custom_jvp
def arctan(x):
    """arctan x. Source: Kamruzzaman & Aziz 2002."""
    return jnp.arctan(x)


@arctan.__wrapped__.defjvp
def _(primals, tangents):
    x = _within_squares(*primals)
    return arctan(*primals), tangents[0] / (1 + x * x)


@floating
@jax.custom_jvp
def soft_sign(x):
    """x / (1 + |x|). Source: Elliott 1993; Bergstra et al. 2009."""
    x = jnp.clip(x, *_finite(x))
    return x / (1 + jnp.abs(x))


@soft_sign.__wrapped__.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    r = 1 / (1 + jnp.where(x <= 0, -x, x))
    return soft_sign(x), dx * r * r


@floating
@jax.custom_jvp
def isru(x, alpha=1.0):
    """x / √(1 + α x²). Source: Carlile et al. 2017."""
    x = _within_squares(x)
    return x / jnp.sqrt(1 + alpha * x * x)


@isru.__wrapped__.defjvp
def _(primals, tangents):
    (x, alpha), (dx, dalpha) = primals, tangents
    value, clipped = isru(x, alpha), _within_squares(x)
    return value, dx * (1 + alpha * clipped * clipped) ** -1.5 - dalpha * value**3 / 2


def _within_squares(x):
    limit = math.sqrt(_finite(x)[1]) / 2  # here the end is reached, and x² is finite
    return jnp.clip(x, -limit, limit)


@floating
def laplace(x, mean=0.5**0.5, deviation=(4 * math.pi) ** -0.5):
    """½ (1 + erf((x − μ) / (σ √2))), μ = √½, σ = √(1 / 4π). Source: Ma et al. 2022, Mega."""
    c = jnp.clip(x, -100, 100)  # beyond, it is 0 or 1
    return jax.lax.erfc((mean - c) * (1 / (deviation * math.sqrt(2)))) / 2  # 1 + erf would lose the left tail


@floating
def dyt(x, alpha):
    """tanh(αx), α trainable. Source: Zhu et al. 2025, dynamic tanh."""
    return tanh(alpha * x)


@floating
def derf(x, alpha, shift):
    """erf(αx + s), α and s trainable. Source: Chen et al. 2025."""
    return jax.lax.erf(alpha * x + shift)


@floating
def step(x):
    """1 where x > 0, 0 elsewhere. Source: McCulloch & Pitts 1943."""
    return jnp.maximum(jnp.sign(x), 0)


@floating
def bipolar(x):
    """sign x. Source: Rosenblatt 1958."""
    return jnp.sign(x)


def _finite(x):
    info = jnp.finfo(jnp.result_type(x))
    return float(info.min), float(info.max)
