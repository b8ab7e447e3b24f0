"""One rule for the numbers that come in: whole ones become floating point, half precision is computed in single."""

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
import numpy as np


def as_floating(x) -> jax.Array:
    """The numbers as floating point: float32, or float64 where JAX has it, in place of integers and booleans.

    Raises TypeError for what is neither, such as complex numbers.

    >>> as_floating(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 255.0]
    """
    x = x if isinstance(x, jax.Array) else np.asarray(x)  # which has 64 bits for whole numbers
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.asarray(x)
    if x.dtype != bool and not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"numbers of dtype {x.dtype}; expected floating point, integers or booleans")
    return jnp.asarray(x.astype(float))


def floating(fn: Callable) -> Callable:
    """A function whose first argument is given `as_floating`; float16 and bfloat16 are computed in float32.

    So the result is rounded once, and overflows only where it has to. All arguments of half precision are widened.

    >>> half = floating(lambda x: jnp.sqrt(x * x))
    >>> print(half(jnp.float16(300)), half(3).dtype)
    300.0 float32
    """

    @wraps(fn)
    def of_floating(x, *args, **kwargs):
        x = as_floating(x)
        if x.dtype.itemsize >= 4:
            return fn(x, *args, **kwargs)
        return fn(*map(_widened, (x, *args)), **kwargs).astype(x.dtype)

    return of_floating


def _widened(a):
    half = hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating) and a.dtype.itemsize < 4
    return jnp.asarray(a, jnp.float32) if half else a
