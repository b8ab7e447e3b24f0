"""Activations: a record of facts for each, the table of all, and how to get one by name.

A record's `fn` is a pure function, `fn(x)`, or `fn(x, *params)` where the activation has trainable parameters, or
`fn(x, key=key)` where it draws random numbers (without a key it has its expectation). The tests recompute every fact.
"""

import inspect
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, reduce
from math import expm1, inf, log, nan
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from . import elementary, gated, rectifiers, sigmoids
from .dtypes import as_floating, floating
from .names import nearest


class Range(NamedTuple):
    """The values that an activation takes, or comes arbitrarily near to.

    >>> print(ACTIVATIONS["relu"].range)
    [0, ∞)
    """

    low: float
    high: float
    low_attained: bool
    high_attained: bool

    def __str__(self):
        """Interval notation: a square bracket where the end is attained."""
        low, high = (f"{end:.5g}".replace("-", "−").replace("inf", "∞") for end in self[:2])
        return f"{'(['[self.low_attained]}{low}, {high}{')]'[self.high_attained]}"


@dataclass(frozen=True)
class Activation:
    """A function and what is known about it; for the user's own callables only the name and the function.

    Facts hold at the default constants and the initial parameters. At ±∞ an activation has its limits, NaN where there
    are none; NaN gives NaN. Numbers below the smallest normal one of float32 may count as 0, as XLA has it, and what
    they are multiplied by then does not matter: silu(−91) is 0. Half precision is float32 rounded once; in float64
    XLA's own functions set the accuracy, 16 units in the last place and for its log1p 128.
    """

    name: str
    fn: Callable[..., jax.Array]
    formula: str = ""
    source: str = ""
    range: Range | None = None
    monotone: bool | None = None  # non-decreasing on the whole line
    smoothness: float | None = None  # continuous derivatives: inf, 2, 1, 0; −1 where the function itself jumps
    gain: float | None = None  # 1 / √E[φ(z)²], z standard normal; per output of a gated unit
    kinks: tuple[
        tuple[float, float], ...
    ] = ()  # where it is not smooth (of a gated unit: its gate), the derivative there
    params: tuple[tuple[str, float], ...] = ()  # trainable: name and initial value
    random: bool = False  # fn takes a key
    inputs: int = 1  # so many pre-activations ...
    outputs: int = 1  # ... feed so many activations; more than one lie in blocks: [all first, all second, …]
    untrainable: str = ""  # why its gradient is of no use
    stable: bool | None = None  # |V′(1)| ≤ 1: with its gain, the length map returns to 1 after a small push
    limits: tuple[float, float] | None = None  # at −∞ and ∞, where these are not the ends of the range
    domain: tuple[float, float] = (-inf, inf)  # where the value is finite in float32
    ulp: int = 6  # float32: error of the value at most, in units in its last place or, if more, as of x in its last
    aliases: tuple[str, ...] = ()

    def __reduce_ex__(self, protocol):
        """Pickled as its name where that is how to get it: it comes back as the same record."""
        with suppress(ValueError):  # an unknown name
            if get(self.name) is self:
                return get, (self.name,)
        return super().__reduce_ex__(protocol)

    @property
    def constants(self) -> dict[str, float]:
        """The fixed parameters of fn with their defaults.

        >>> get("elu").constants
        {'alpha': 1.0}
        """
        signature = inspect.signature(self.fn).parameters.values()
        return {p.name: p.default for p in signature if p.default not in (p.empty, None)}


_ALIASES = {
    "identity": "linear none",
    "exponential": "exp",
    "gaussian": "rbf",
    "sin": "sine",
    "cos": "cosine",
    "leaky_relu": "lrelu",
    "threshold": "trelu trec",
    "squared_relu": "relu2 relu_squared",
    "softplus": "soft_relu",
    "shifted_softplus": "ssp",
    "sigmoid": "logistic expit",
    "lecun_tanh": "scaled_tanh",
    "arctan": "atan",
    "step": "heaviside",
    "bipolar": "sign",
    "gelu": "gelu_exact",
    "gelu_tanh": "gelu_new gelu_approximate",
    "clipped_gelu": "gelu_10",
    "silu": "swish1 sil",
    "hard_swish": "hard_silu",
    "tanh_exp": "telu",
}


def _row(fn, values, monotone, smoothness, gain, stable, *, name="", params=MappingProxyType({}), **facts):
    """One row of the table; the formula and the source are said once, in the docstring of the function."""
    formula, _, source = (fn.__doc__ or "").partition("\n")[0].partition(" Source: ")
    low, high = map(float, values[1:-1].split(","))
    return Activation(
        name=name or fn.__name__,
        fn=fn,
        formula=formula.rstrip("."),
        source=source.rstrip("."),
        range=Range(low, high, values[0] == "[", values[-1] == "]"),
        monotone=monotone,
        smoothness=smoothness,
        gain=gain,
        stable=stable,
        params=tuple(params.items()),
        aliases=tuple(_ALIASES.get(name or fn.__name__, "").split()),
        **facts,
    )


@dataclass(frozen=True)  # not a NamedTuple: `jax.jit` refers to a function weakly
class _Largest:
    """max(x₁, …, xₖ). Source: Goodfellow et al. 2013."""

    pieces: int

    def __call__(self, x):
        # A reduction over an axis loses NaN on CPU.
        return reduce(jnp.maximum, jnp.split(as_floating(x), self.pieces, axis=-1))


@cache
def maxout(k: int) -> Activation:
    """The largest of k pre-activations, max(x₁, …, xₖ); pieces that tie share the derivative, two of them equally.

    Args: k ≥ 2, the number of affine pieces. Source: Goodfellow et al. 2013.

    >>> maxout(3).fn(jnp.array([1.0, 2.0, 5.0, 0.0, 3.0, 4.0])).tolist()
    [5.0, 4.0]
    """
    if not k >= 2:
        raise ValueError(f"maxout: k={k}; expected 2 or more pieces, e.g. maxout(2)")

    name = "maxout" if k == 2 else f"maxout({k})"
    # The largest of k normals has density k φ Φᵏ⁻¹; the trapezoidal rule is exact to rounding here.
    grid = [i / 16 for i in range(-160, 161)]
    square = sum(z * z * k * math.exp(-z * z / 2) * (math.erfc(-z / math.sqrt(2)) / 2) ** (k - 1) for z in grid)
    gain = (square / 16 / math.sqrt(2 * math.pi)) ** -0.5
    return _row(_Largest(k), "(-inf, inf)", True, 0, gain, True, name=name, inputs=k, kinks=((0, 1 / 2),), ulp=0)


@dataclass(frozen=True)
class _Blend:
    """w f(x) + (1 − w) x. Source: Holzmüller, Grinsztajn & Steinwart 2024, RealMLP."""

    fn: Callable

    def __call__(self, x, w, *params):
        return floating(lambda x, w, *params: w * self.fn(x, *params) + (1 - w) * x)(x, w, *params)


def parametric(activation) -> Activation:
    """An activation f that units may leave, x + (f(x) − x) w with a trainable w each: f at 1, where it starts.

    Args: activation, of one input and one output, not random. Source: Holzmüller, Grinsztajn & Steinwart 2024, RealMLP.

    >>> print(parametric("relu").fn(jnp.array([-2.0, 2.0]), 0.5))
    [-1.  2.]
    """
    return _parametric(get(activation))


@cache
def _parametric(record: Activation) -> Activation:
    if record.random or (record.inputs, record.outputs) != (1, 1):
        raise ValueError(f"parametric: {record.name}; expected an activation of one input and one output, not random")
    formula, _, source = _Blend.__doc__.partition(" Source: ")
    return replace(
        record,
        name=f"parametric({record.name})",
        fn=_Blend(record.fn),
        formula=formula.rstrip("."),
        source=source.rstrip("."),
        params=(("w", 1.0), *record.params),
        limits=(nan, nan),  # 0 · ∞
        aliases=(),
    )


_FLAT = "its derivative is 0 wherever it has one; train a smooth relative such as sigmoid or tanh instead"
_AT_ZERO, _AT_ONES = ((0, 0),), ((-1, 0), (1, 0))
_BUMP = {"limits": (0, inf)}  # a dip on the left that returns to 0
_RATIONAL = {"a0": 0.0218, "a1": 0.5, "a2": 1.5957, "a3": 1.1915, "b1": 0.0, "b2": 2.383}  # near relu on [−1, 1]
_XIELU = {"positive": log(expm1(0.8)), "negative": log(expm1(0.3))}  # α₊ = α₋ = 0.8

# The columns: function, range (square brackets where an end is attained), monotone, smoothness, gain, stable.
ACTIVATIONS: dict[str, Activation] = {
    record.name: record
    for record in (
        _row(elementary.identity, "(-inf, inf)", True, inf, 1, True, ulp=0),
        _row(elementary.absolute, "[0, inf)", False, 0, 1, True, name="abs", kinks=_AT_ZERO, limits=(inf, inf)),
        _row(elementary.square, "[0, inf)", False, inf, 0.5773502692, False, limits=(inf, inf)),
        _row(elementary.cube, "(-inf, inf)", True, inf, 0.2581988897, False),
        _row(elementary.exponential, "(0, inf)", True, inf, 0.3678794412, False, domain=(-inf, 88.7)),
        _row(elementary.gaussian, "(0, 1]", False, inf, 1.495348781, True, limits=(0, 0)),
        _row(elementary.log_cosh, "[0, inf)", False, inf, 1.740597124, False, limits=(inf, inf)),
        _row(elementary.sin, "[-1, 1]", False, inf, 1.520866623, True, limits=(nan, nan)),
        _row(elementary.cos, "[-1, 1]", False, inf, 1.3272506, True, limits=(nan, nan)),
        _row(elementary.snake, "(-inf, inf)", True, inf, 0.8745809829, True, params={"alpha": 1.0}, limits=(nan, nan)),
        _row(elementary.rational, "(-inf, inf)", False, inf, 1.580696626, True, params=_RATIONAL, ulp=12),
        _row(elementary.hard_shrink, "(-inf, inf)", True, -1, 1.015796355, False, kinks=((-0.5, 0), (0.5, 0))),
        _row(elementary.soft_shrink, "(-inf, inf)", True, 0, 1.544360528, False, kinks=((-0.5, 0), (0.5, 0))),
        _row(elementary.tanh_shrink, "(-inf, inf)", True, inf, 2.33836753, False),
        _row(rectifiers.relu, "[0, inf)", True, 0, 1.414213562, True, kinks=_AT_ZERO, ulp=0),
        _row(rectifiers.leaky_relu, "(-inf, inf)", True, 0, 1.414142857, True, kinks=((0, 0.01),)),
        _row(rectifiers.prelu, "(-inf, inf)", True, 0, 1.371988681, True, kinks=((0, 0.25),), params={"slope": 0.25}),
        _row(rectifiers.rrelu, "(-inf, inf)", True, 0, 1.378479665, True, kinks=((0, 11 / 48),), random=True),
        _row(rectifiers.relu6, "[0, 6]", True, 0, 1.414213565, True, kinks=((0, 0), (6, 0)), ulp=0),
        _row(rectifiers.threshold, "[0, inf)", True, -1, 1.579903082, False, kinks=((1, 0),), ulp=0),
        _row(rectifiers.tlu, "[0, inf)", True, 0, 1.414213562, True, kinks=_AT_ZERO, params={"tau": 0.0}, ulp=0),
        _row(rectifiers.squared_relu, "[0, inf)", True, 1, 0.8164965809, False, kinks=_AT_ZERO),
        _row(
            rectifiers.star_relu,
            "[-0.4472, inf)",
            True,
            1,
            1.000030401,
            False,
            kinks=_AT_ZERO,
            params={"scale": 0.8944, "bias": -0.4472},
            ulp=12,
        ),
        _row(rectifiers.elu, "(-1, inf)", True, 1, 1.245198301, True, kinks=((0, 1),)),
        _row(rectifiers.selu, "(-1.7580993408473766, inf)", True, 0, 1, True, kinks=((0, 1.7580993408473766),)),
        _row(rectifiers.celu, "(-1, inf)", True, 1, 1.245198301, True, kinks=((0, 1),)),
        _row(rectifiers.isrlu, "(-1, inf)", True, 2, 1.219729686, True, kinks=((0, 1),)),
        _row(
            rectifiers.xielu,
            "[-0.2057512241, inf)",
            False,
            1,
            0.7590769383,
            False,
            kinks=((0, 0.5),),
            limits=(inf, inf),
            params=_XIELU,
            ulp=16,
        ),
        _row(rectifiers.softplus, "(0, inf)", True, inf, 1.041866836, True),
        _row(rectifiers.shifted_softplus, "(-0.6931471805599453, inf)", True, inf, 1.875596256, False),
        _row(rectifiers.squareplus, "(0, inf)", True, inf, 0.8164965809, True),
        _row(rectifiers.sparse_plus, "[0, inf)", True, 1, 1.380336863, True, kinks=((-1, 0), (1, 1))),
        _row(sigmoids.sigmoid, "(0, 1)", True, inf, 1.846228545, True),
        _row(sigmoids.log_sigmoid, "(-inf, 0)", True, inf, 1.041866836, True),
        _row(sigmoids.hard_sigmoid, "[0, 1]", True, 0, 1.897840425, True, kinks=((-3, 0), (3, 0))),
        _row(sigmoids.sparse_sigmoid, "[0, 1]", True, 0, 1.624321559, True, kinks=_AT_ONES),
        _row(sigmoids.laplace, "(0, 1)", True, inf, 2.239194575, True, ulp=48),
        _row(sigmoids.tanh, "(-1, 1)", True, inf, 1.59253742, True),
        _row(sigmoids.lecun_tanh, "(-1.7159, 1.7159)", True, inf, 1.154369454, True),
        _row(sigmoids.penalized_tanh, "(-0.25, 1)", True, 0, 2.184943314, True, kinks=((0, 0.25),)),
        _row(sigmoids.hard_tanh, "[-1, 1]", True, 0, 1.39203614, True, kinks=_AT_ONES, ulp=0),
        _row(sigmoids.arctan, "(-1.5707963267948966, 1.5707963267948966)", True, inf, 1.491207618, True),
        _row(sigmoids.soft_sign, "(-1, 1)", True, 1, 2.337533363, True, kinks=((0, 1),)),
        _row(sigmoids.isru, "(-1, 1)", True, inf, 1.704192252, True),
        _row(sigmoids.dyt, "(-1, 1)", True, inf, 2.400656686, True, params={"alpha": 0.5}),
        _row(sigmoids.derf, "(-1, 1)", True, inf, 2.149931712, True, params={"alpha": 0.5, "shift": 0.0}),
        _row(sigmoids.step, "[0, 1]", True, -1, 1.414213562, True, kinks=_AT_ZERO, untrainable=_FLAT, ulp=0),
        _row(sigmoids.bipolar, "[-1, 1]", True, -1, 1, True, kinks=_AT_ZERO, untrainable=_FLAT, ulp=0),
        _row(gated.gelu, "[-0.1699712075, inf)", False, inf, 1.533530441, False, **_BUMP, ulp=48),
        _row(gated.gelu_tanh, "[-0.1700407506, inf)", False, inf, 1.533580522, False, **_BUMP, ulp=32),
        _row(gated.quick_gelu, "[-0.1636101896, inf)", False, inf, 1.539458762, False, **_BUMP, ulp=16),
        _row(
            gated.clipped_gelu,
            "[-0.1699712075, 10]",
            False,
            0,
            1.533530441,
            False,
            kinks=((10, 0),),
            limits=(0, 10),
            ulp=48,
        ),
        _row(gated.silu, "[-0.2784645428, inf)", False, inf, 1.67653247, False, **_BUMP),
        _row(gated.swish, "[-0.2784645428, inf)", False, inf, 1.67653247, False, **_BUMP, params={"beta": 1.0}),
        _row(gated.hard_swish, "[-0.375, inf)", False, 0, 1.736657213, False, kinks=((-3, 0), (3, 1)), **_BUMP),
        _row(gated.mish, "[-0.3088434130, inf)", False, inf, 1.486847581, False, **_BUMP),
        _row(gated.hard_mish, "[-0.5, inf)", False, 0, 1.331207239, True, kinks=((-2, 0), (0, 1)), **_BUMP),
        _row(gated.tanh_exp, "[-0.3532857778, inf)", False, inf, 1.374781576, True, **_BUMP),
        _row(gated.serf, "[-0.3484374588, inf)", False, inf, 1.412205251, False, **_BUMP),
        _row(gated.golu, "[-0.0972601313, inf)", False, inf, 1.768777786, False, **_BUMP, ulp=24),
        _row(gated.lisht, "[0, inf)", False, inf, 1.14867442, False, limits=(inf, inf)),
        _row(gated.gcu, "(-inf, inf)", False, inf, 1.834948644, False, limits=(nan, nan)),
        _row(
            gated.sinlu,
            "[-0.4973705542, inf)",
            False,
            inf,
            1.054392283,
            True,
            params={"a": 1.0, "b": 1.0},
            limits=(nan, nan),
        ),
        _row(gated.glu, "(-inf, inf)", False, inf, 1.846228545, False, inputs=2),
        _row(gated.reglu, "(-inf, inf)", False, 0, 1.414213562, False, inputs=2, kinks=_AT_ZERO),
        _row(gated.geglu, "(-inf, inf)", False, inf, 1.533530441, False, inputs=2, ulp=48),
        _row(gated.swiglu, "(-inf, inf)", False, inf, 1.67653247, False, inputs=2),
        _row(gated.bilinear, "(-inf, inf)", False, inf, 1, False, inputs=2),
        maxout(2),
        _row(rectifiers.crelu, "[0, inf)", False, 0, 1.414213562, True, outputs=2, kinks=_AT_ZERO),
    )
}


def get(activation: str | Activation | Callable) -> Activation:
    """The record of an activation.

    Args:
      activation: a name or alias of the table, upper or lower case, with or without underscores, "maxout(3)" or
        "parametric(relu)"; an `Activation`, returned as it is; or any elementwise function of an array, which gets a
        record without facts.

    Raises:
      ValueError: an unknown name, with the nearest known ones.
      TypeError: neither a name nor a callable.

    >>> get("LeakyReLU").name, get(jnp.tanh).name
    ('leaky_relu', 'tanh')
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        names, call = _names(), re.fullmatch(r"maxout\((\d+)\)|parametric\((.+)\)", activation.lower().replace(" ", ""))
        if call:
            return maxout(int(call[1])) if call[1] else parametric(call[2])
        if _plain(activation) not in names:
            spelled = {name for record in ACTIVATIONS.values() for name in (record.name, *record.aliases)}
            raise ValueError(f"unknown activation {activation!r}; {nearest(activation.lower(), sorted(spelled))}")
        return names[_plain(activation)]
    if not callable(activation):
        raise TypeError(f"activation {activation!r} is a {type(activation).__name__}; expected a name or a function")
    return _of_callable(activation)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


@cache
def _names() -> dict[str, Activation]:
    return {_plain(name): record for record in ACTIVATIONS.values() for name in (record.name, *record.aliases)}


@cache
def _of_callable(fn: Callable) -> Activation:
    known = {record.fn: record for record in ACTIVATIONS.values()}
    return known.get(fn) or Activation(getattr(fn, "__name__", type(fn).__name__), fn)
