"""Random weights: W ~ distribution with Var W = gain² / fan_in, the gain matched to the activation before the layer.

The mean square of a pre-activation h = Σᵢ aᵢ Wᵢ is fan_in · Var W · E[a²], so it stays 1 from layer to layer when
Var W = 1 / (fan_in · E[φ(z)²]), z standard normal: the gain is 1 / √E[φ(z)²], and 1 for the inputs themselves.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .names import nearest

# The standard deviation of a standard normal cut off at ±2.
_TRUNCATED_STD = 0.87962566103423978


class Initializer(NamedTuple):
    """How a layer's weight is drawn: `draw(key, shape, dtype)` of unit variance times `std(fan_in, fan_out, gain)`."""

    name: str
    draw: Callable
    std: Callable
    formula: str
    source: str


def _normal(key, shape, dtype):
    return jax.random.normal(key, shape, dtype)


def _truncated(key, shape, dtype):
    return jax.random.truncated_normal(key, -2, 2, shape, dtype) / jnp.asarray(_TRUNCATED_STD, dtype)


def _uniform(key, shape, dtype):
    limit = math.sqrt(3)
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def _orthogonal(key, shape, dtype):
    # Rows (or columns) orthonormal, then scaled to unit mean square; there is no QR in half precision.
    matrix = jax.random.orthogonal(
        key, shape[0], m=shape[1], dtype=dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
    )
    return (matrix * math.sqrt(max(shape))).astype(dtype)


def _matched(fan_in, fan_out, gain, first):
    return gain / math.sqrt(fan_in)


def _glorot(fan_in, fan_out, gain, first):
    return math.sqrt(2 / (fan_in + fan_out))


def _he(fan_in, fan_out, gain, first):
    return math.sqrt(2 / fan_in)


def _lecun(fan_in, fan_out, gain, first):
    return math.sqrt(1 / fan_in)


def _orthogonal_std(fan_in, fan_out, gain, first):
    return gain / math.sqrt(max(fan_in, fan_out))


def _siren(fan_in, fan_out, gain, first):
    return 1 / (math.sqrt(3) * fan_in) if first else math.sqrt(2 / fan_in)


def _torch(fan_in, fan_out, gain, first):
    return math.sqrt(1 / (3 * fan_in))


_HE = "He et al. 2015, arXiv:1502.01852"
_GLOROT = "Glorot & Bengio 2010"
_LECUN = "LeCun et al. 1998, Efficient BackProp"

INITIALIZERS = {
    record.name: record
    for record in (
        Initializer("matched", _normal, _matched, "N(0, gain²/fan_in)", "the length map of Poole et al. 2016"),
        Initializer(
            "matched_uniform", _uniform, _matched, "U(±gain·√(3/fan_in))", "the length map of Poole et al. 2016"
        ),
        Initializer("glorot_normal", _truncated, _glorot, "N(0, 2/(fan_in+fan_out)), cut at 2σ", _GLOROT),
        Initializer("glorot_uniform", _uniform, _glorot, "U(±√(6/(fan_in+fan_out)))", _GLOROT),
        Initializer("he_normal", _truncated, _he, "N(0, 2/fan_in), cut at 2σ", _HE),
        Initializer("he_uniform", _uniform, _he, "U(±√(6/fan_in))", _HE),
        Initializer("lecun_normal", _truncated, _lecun, "N(0, 1/fan_in), cut at 2σ", _LECUN),
        Initializer("lecun_uniform", _uniform, _lecun, "U(±√(3/fan_in))", _LECUN),
        Initializer(
            "orthogonal", _orthogonal, _orthogonal_std, "gain · orthogonal", "Saxe et al. 2014, arXiv:1312.6120"
        ),
        Initializer(
            "siren", _uniform, _siren, "U(±1/n) first, U(±√(6/n)) after", "Sitzmann et al. 2020, arXiv:2006.09661"
        ),
        Initializer("torch", _uniform, _torch, "U(±1/√fan_in), variance 1/(3·fan_in)", "torch.nn.Linear's default"),
    )
}


def get_initializer(initializer) -> Initializer:
    """The record of a name, or the record itself.

    Raises:
      ValueError: the name is unknown; the message lists the nearest ones.

    >>> get_initializer("he_normal").formula
    'N(0, 2/fan_in), cut at 2σ'
    """
    if isinstance(initializer, Initializer):
        return initializer
    if initializer not in INITIALIZERS:
        raise ValueError(f"unknown initializer {initializer!r}; {nearest(initializer, INITIALIZERS)}")
    return INITIALIZERS[initializer]


def draw_weight(initializer, key, fan_in: int, fan_out: int, gain: float = 1.0, first: bool = False, dtype=jnp.float32):
    """A weight W of shape (fan_in, fan_out): unit draws times the standard deviation of the initializer.

    The raw draws depend on the key and the shape alone, so two activations with different gains start from the same
    numbers, scaled.

    Args:
      initializer: a name of `INITIALIZERS` or an `Initializer`.
      key: a JAX random key.
      fan_in: inputs of the layer.
      fan_out: pre-activations of the layer.
      gain: of the activation before the layer, 1/√E[φ(z)²]; the inputs have gain 1.
      first: is it the first layer? (`siren` tells it apart.)
      dtype: of the weight.

    Returns:
      (fan_in, fan_out) array.

    >>> weight = draw_weight("matched", jax.random.key(0), fan_in=400, fan_out=100, gain=2.0)
    >>> print(weight.shape, f"{weight.std():.2f}")
    (400, 100) 0.10
    """
    record, dtype = get_initializer(initializer), jnp.dtype(dtype)
    std = np.asarray(record.std(fan_in, fan_out, gain, first), dtype)
    return record.draw(key, (fan_in, fan_out), dtype) * std
