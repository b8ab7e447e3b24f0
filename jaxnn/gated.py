"""Units wider than one input: gates a ⊗ φ(b), maxout over k pieces, and ReLU of both signs.

The last axis holds the pre-activations of one layer, piece after piece: for a gate first all a, then all b.
"""

from functools import cache

import jax
import jax.numpy as jnp

from jaxnn.elementwise import gelu, relu, silu


def glu(x):
    """φ(a, b) = a σ(b)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * jax.nn.sigmoid(b)


def reglu(x):
    """φ(a, b) = a relu(b)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * relu(b)


def geglu(x):
    """φ(a, b) = a gelu(b)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * gelu(b)


def swiglu(x):
    """φ(a, b) = a silu(b)."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * silu(b)


def bilinear(x):
    """φ(a, b) = a b."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * b


@cache
def maxout_of(pieces: int):
    """The function max(z₁, …, z_k) of k pieces; where several are largest they share the gradient."""

    def maxout(x):
        """φ(z₁, …, z_k) = max z."""
        return jnp.max(x.reshape(*x.shape[:-1], pieces, -1), axis=-2)

    return maxout


def crelu(x):
    """φ(x) = (relu(x), relu(−x))."""
    return jnp.concatenate([relu(x), relu(-x)], axis=-1)
