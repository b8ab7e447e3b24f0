"""Activations that are elementary functions: powers, exponentials, waves, and what shrinks its input towards 0."""

import math

import jax.numpy as jnp

from .dtypes import floating
from .sigmoids import tanh


@floating
def identity(x):
    """x. Source: the linear unit."""
    return x


@floating
def absolute(x):
    """|x|. Source: Jarrett et al. 2009."""
    return x * jnp.sign(x)  # has derivative 0 at 0, where jnp.abs has 1


@floating
def square(x):
    """x². Source: Livni, Shalev-Shwartz & Shamir 2014."""
    return jnp.square(x)


@floating
def cube(x):
    """x³. Source: Eger, Youssef & Gurevych 2018."""
    return x**3


@floating
def exponential(x):
    """eˣ. Source: Keras."""
    return jnp.exp(x)


@floating
def gaussian(x):
    """e^(−x²). Source: Broomhead & Lowe 1988."""
    return jnp.exp(-jnp.square(jnp.clip(x, -40, 40)))  # 0 from 28 on, where the square is finite


@floating
def log_cosh(x):
    """log cosh x. Source: NNlib."""
    size = jnp.abs(x)
    u = jnp.expm1(-size)  # cosh x − 1 = u² / (2 (1 + u)), log cosh x = |x| − log 2 + log(1 + (1 + u)²)
    near = size < 1
    return jnp.where(near, 0, size - math.log(2)) + jnp.log1p(
        jnp.where(near, jnp.square(u) / (2 + 2 * jnp.where(near, u, 0)), jnp.square(1 + u))
    )


@floating
def sin(x, omega=1.0):
    """sin(ωx). Source: Sopena, Romero & Alquézar 1999; Sitzmann et al. 2020."""
    return jnp.sin(omega * x)


@floating
def cos(x):
    """cos x. Source: Rahimi & Recht 2007."""
    return jnp.cos(x)


@floating
def snake(x, alpha):
    """x + sin²(αx) / α, α trainable. Source: Ziyin, Hartwig & Ueda 2020."""
    tiny = jnp.abs(alpha) < 1e-12  # the limit is x + αx²
    wave = jnp.square(jnp.sin(alpha * x)) / jnp.where(tiny, 1, alpha)
    return x + jnp.where(tiny, alpha * x * x, wave)


@floating
def rational(x, a0, a1, a2, a3, b1, b2):
    """(a₀ + a₁x + a₂x² + a₃x³) / (1 + |b₁x + b₂x²|), all trainable. Source: Molina et al. 2019; Boullé et al. 2020."""
    far = jnp.abs(x) > 1  # there in powers of 1 / x, which do not overflow
    t = jnp.where(far, 1 / jnp.where(far, x, 1), x)
    above = jnp.where(far, a3 + t * (a2 + t * (a1 + t * a0)), a0 + t * (a1 + t * (a2 + t * a3)))
    below = jnp.where(far, t * t + jnp.abs(b1 * t + b2), 1 + jnp.abs(b1 * t + b2 * t * t))
    return jnp.where(far, x, 1) * (above / below)


@floating
def hard_shrink(x, lam=0.5):
    """x where |x| > λ, 0 elsewhere. Source: Donoho & Johnstone 1994."""
    return jnp.where(jnp.abs(x) <= lam, 0, x)


@floating
def soft_shrink(x, lam=0.5):
    """sign(x) · max(|x| − λ, 0). Source: Donoho 1995."""
    return jnp.where(jnp.abs(x) <= lam, 0, x - lam * jnp.sign(x))


@floating
def tanh_shrink(x):
    """x − tanh x. Source: Torch."""
    near = jnp.abs(x) < 1
    return jnp.where(near, _tanh_shrink_near_zero(jnp.where(near, x, 0)), x - tanh(x))


def _tanh_shrink_near_zero(x):
    """x − tanh x = x q / (1 + q) with Lambert's continued fraction q = x² / (3 + x² / (5 + x² / (7 + …)))."""
    y = x * x
    above, below = 1, 1
    for odd in (15, 13, 11, 9, 7, 5, 3):
        above, below = above + y * below / (odd * (odd + 2)), above
    return x * y * below / (3 * above + y * below)
