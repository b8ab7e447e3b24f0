"""The table of activations: the functions with the facts about each, and how to find them by name.

Every fact of a record is recomputed by a test. Range, monotonicity, smoothness and kinks are those of the elementwise
function on the whole line at its default parameters.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxnn import elementwise as e
from jaxnn import gated as g

SMOOTH = math.inf  # infinitely often differentiable
JUMP = -1


@dataclass(frozen=True)
class Activation:
    """An activation function and what is known about it.

    `fn(x, *params)` is the pure function; a random one takes `key=` as well. Inside a layer every trainable parameter
    has one value for each unit.
    """

    name: str
    fn: Callable
    source: str = ""
    range: tuple[float, float] = (-math.inf, math.inf)
    ends: str = "()"  # "[" or "]" where an end is attained at a finite x
    monotone: bool | None = None  # None where unknown (a caller's own function) or not a function of one number
    smoothness: float | None = None  # -1 jumps, 0 continuous, n continuously differentiable n times
    kinks: tuple[tuple[float, float], ...] = ()  # (location, derivative chosen there)
    params: tuple[tuple[str, float], ...] = ()  # trainable: (name, initial value)
    random: bool = False
    aliases: tuple[str, ...] = ()
    inputs: int = 1  # pre-activations that feed `outputs` units
    outputs: int = 1
    untrainable: str = ""  # why gradient descent cannot train it
    stable: bool | None = None  # |V′(1)| ≤ 1: with matched weights the length map returns to 1
    ulp: float = 8  # bound on the error of the float32 value, in units of the last place of the largest term
    largest: float = math.inf  # beyond this x the float32 value overflows

    @property
    def formula(self) -> str:
        """The formula, as the function's own docstring has it."""
        return (self.fn.__doc__ or "").strip().removesuffix(".")


_LINE = (-math.inf, math.inf)
_UP = (0.0, math.inf)
_STEP = "its derivative is zero wherever it has one; use it in a perceptron, or sigmoid or hard_tanh here"


def _record(fn, source, range=_LINE, ends="()", monotone=True, smoothness=SMOOTH, kinks=(), **more):
    name, stable = more.pop("name", fn.__name__), more.pop("stable", True)
    return Activation(name, fn, source, range, ends, monotone, smoothness, kinks, stable=stable, **more)


def _zero(derivative):
    return ((0.0, derivative),)


def _gate(fn, source, inputs=2, outputs=1):
    return Activation(fn.__name__, fn, source, inputs=inputs, outputs=outputs)


_RECORDS = (
    _record(e.identity, "", aliases=("linear",)),
    _record(e.relu, "Fukushima 1969; Nair & Hinton 2010; Glorot et al. 2011", _UP, "[)", True, 0, _zero(0.0)),
    _record(e.leaky_relu, "Maas, Hannun & Ng 2013", _LINE, "()", True, 0, _zero(0.01)),
    _record(e.prelu, "He et al. 2015, arXiv:1502.01852", _LINE, "()", True, 0, _zero(0.25), params=(("slope", 0.25),)),
    _record(e.rrelu, "Xu, Wang, Chen & Li 2015, arXiv:1505.00853", _LINE, "()", True, 0, _zero(11 / 48), random=True),
    _record(e.relu6, "Krizhevsky 2010", (0.0, 6.0), "[]", True, 0, ((0.0, 0.0), (6.0, 0.0))),
    _record(
        e.threshold,
        "Konda et al. 2014, arXiv:1402.3337",
        _UP,
        "[, stable=False)",
        True,
        JUMP,
        ((1.0, 0.0),),
        aliases=("trec",),
    ),
    _record(e.tlu, "Singh & Krishnan 2019, arXiv:1911.09737", _UP, "[)", True, 0, _zero(0.0), params=(("tau", 0.0),)),
    _record(
        e.elu, "Clevert, Unterthiner & Hochreiter 2015, arXiv:1511.07289", (-1.0, math.inf), "()", True, 1, _zero(1.0)
    ),
    _record(
        e.selu,
        "Klambauer et al. 2017, arXiv:1706.02515",
        (-e.SELU_SCALE * e.SELU_ALPHA, math.inf),
        "()",
        True,
        0,
        _zero(e.SELU_SCALE * e.SELU_ALPHA),
    ),
    _record(e.celu, "Barron 2017, arXiv:1704.07483", (-1.0, math.inf), "()", True, 1, _zero(1.0)),
    _record(
        e.gelu,
        "Hendrycks & Gimpel 2016, arXiv:1606.08415",
        (-0.16997120747990369, math.inf),
        "[, stable=False)",
        False,
        aliases=("gelu_exact", "gelu_erf"),
        ulp=40,
    ),
    _record(
        e.gelu_tanh,
        "Hendrycks & Gimpel 2016",
        (-0.17004075057125410, math.inf),
        "[, stable=False)",
        False,
        ulp=40,
        aliases=("gelu_approximate", "gelu_new"),
    ),
    _record(e.quick_gelu, "Hendrycks & Gimpel 2016", (-0.16358102, math.inf), "[, stable=False)", False, ulp=40),
    _record(
        e.clipped_gelu,
        "transformers, gelu_10",
        (-0.16997120747990369, 10.0),
        "[]",
        False,
        0,
        ((10.0, 0.0),),
        ulp=40,
        stable=False,
    ),
    _record(
        e.silu,
        "Elfwing et al. 2017; Hendrycks & Gimpel 2016",
        (-0.27846454276107379, math.inf),
        "[, stable=False)",
        False,
        ulp=40,
        aliases=("swish1", "swish_1"),
    ),
    _record(
        e.swish,
        "Ramachandran, Zoph & Le 2017, arXiv:1710.05941",
        (-0.27846454276107379, math.inf),
        "[, stable=False)",
        False,
        params=(("beta", 1.0),),
        ulp=40,
    ),
    _record(
        e.hard_swish,
        "Howard et al. 2019, arXiv:1905.02244",
        (-0.375, math.inf),
        "[, stable=False)",
        False,
        0,
        ((-3.0, 0.0), (3.0, 1.0)),
        aliases=("hard_silu",),
    ),
    _record(
        e.hard_sigmoid,
        "Courbariaux et al. 2015; Howard et al. 2019",
        (0.0, 1.0),
        "[]",
        True,
        0,
        ((-3.0, 0.0), (3.0, 0.0)),
    ),
    _record(e.hard_tanh, "Collobert 2004", (-1.0, 1.0), "[]", True, 0, ((-1.0, 0.0), (1.0, 0.0))),
    _record(e.hard_mish, "Misra 2020, H-Mish", (-0.5, math.inf), "[)", False, 0, ((-2.0, 0.0), (0.0, 1.0))),
    _record(e.mish, "Misra 2019, arXiv:1908.08681", (-0.30884052, math.inf), "[, stable=False)", False, ulp=40),
    _record(e.sigmoid, "Rumelhart, Hinton & Williams 1986", (0.0, 1.0), aliases=("logistic",), ulp=40),
    _record(e.tanh, "LeCun et al. 1998", (-1.0, 1.0)),
    _record(e.log_sigmoid, "", (-math.inf, 0.0), ulp=40),
    _record(e.softplus, "Dugas et al. 2001", _UP, ulp=40),
    _record(e.squareplus, "Barron 2021, arXiv:2112.11687", _UP),
    _record(
        e.sparse_plus,
        "Blondel, Martins & Niculae 2020, arXiv:1901.02324",
        _UP,
        "[)",
        True,
        1,
        ((-1.0, 0.0), (1.0, 1.0)),
    ),
    _record(
        e.sparse_sigmoid,
        "Martins & Astudillo 2016, arXiv:1602.02068",
        (0.0, 1.0),
        "[]",
        True,
        0,
        ((-1.0, 0.0), (1.0, 0.0)),
    ),
    _record(
        e.soft_sign, "Bergstra et al. 2009; Elliott 1993", (-1.0, 1.0), "()", True, 1, _zero(1.0), aliases=("softsign",)
    ),
    _record(e.hard_shrink, "Donoho & Johnstone 1994", _LINE, "()", True, JUMP, ((-0.5, 0.0), (0.5, 0.0)), stable=False),
    _record(e.soft_shrink, "Donoho 1995", _LINE, "()", True, 0, ((-0.5, 0.0), (0.5, 0.0)), stable=False),
    _record(e.tanh_shrink, "", stable=False),
    _record(e.exponential, "", _UP, aliases=("exp",), largest=88.0, ulp=40, stable=False),
    _record(e.log_cosh, "NNlib, logcosh", _UP, "[, stable=False)", False),
    _record(e.lisht, "Roy et al. 2019, arXiv:1901.05894", _UP, "[, stable=False)", False),
    _record(e.snake, "Ziyin, Hartwig & Ueda 2020, arXiv:2006.08195", params=(("alpha", 1.0),), ulp=40),
    _record(
        e.squared_relu,
        "So et al. 2021, arXiv:2109.08668",
        _UP,
        "[, stable=False)",
        True,
        1,
        _zero(0.0),
        aliases=("relu_squared",),
    ),
    _record(e.laplace, "Ma et al. 2022, arXiv:2209.10655", (0.0, 1.0), ulp=40),
    _record(
        e.xielu,
        "Huang & Schlag 2024, arXiv:2411.13010",
        (-0.20577072, math.inf),
        "[, stable=False)",
        False,
        1,
        _zero(0.5),
        params=(("raw_positive", e.RAW_POSITIVE), ("raw_negative", e.RAW_NEGATIVE)),
        ulp=40,
    ),
    _record(
        e.step,
        "McCulloch & Pitts 1943",
        (0.0, 1.0),
        "[]",
        True,
        JUMP,
        _zero(0.0),
        untrainable=_STEP,
        aliases=("heaviside",),
    ),
    _record(
        e.bipolar, "Rosenblatt 1958", (-1.0, 1.0), "[]", True, JUMP, _zero(0.0), untrainable=_STEP, aliases=("sign",)
    ),
    _record(e.lecun_tanh, "LeCun et al. 1998, Efficient BackProp", (-1.7159, 1.7159)),
    _record(e.penalized_tanh, "Xu, Huang & Li 2016, arXiv:1602.05980", (-0.25, 1.0), "()", True, 0, _zero(0.25)),
    _record(e.arctan, "Kamruzzaman & Aziz 2002", (-math.pi / 2, math.pi / 2), aliases=("atan",)),
    _record(e.isru, "Carlile et al. 2017, arXiv:1710.09967", (-1.0, 1.0)),
    _record(e.isrlu, "Carlile et al. 2017, arXiv:1710.09967", (-1.0, math.inf), "()", True, 2, _zero(1.0)),
    _record(
        e.tanh_exp, "Liu & Di 2020, arXiv:2003.09855", (-0.35328, math.inf), "[)", False, aliases=("telu",), ulp=40
    ),
    _record(e.gaussian, "", (0.0, 1.0), "(]", False, ulp=40),
    _record(e.sin, "Sopena et al. 1999; Sitzmann et al. 2020", (-1.0, 1.0), "[]", False, aliases=("sine",)),
    _record(e.cos, "", (-1.0, 1.0), "[]", False, aliases=("cosine",)),
    _record(e.gcu, "Noel et al. 2021, arXiv:2108.12943", _LINE, "()", False, stable=False),
    _record(e.cube, "Eger et al. 2018, arXiv:1901.02671", stable=False),
    _record(e.square, "", _UP, "[, stable=False)", False),
    _record(e.absolute, "", _UP, "[)", False, 0, _zero(0.0), name="abs"),
    _record(e.shifted_softplus, "Schütt et al. 2017, arXiv:1706.08566", (-math.log(2), math.inf), stable=False),
    _record(
        e.star_relu,
        "Yu et al. 2022, arXiv:2210.13452",
        (e.STAR_SHIFT, math.inf),
        "[, stable=False)",
        True,
        1,
        _zero(0.0),
        params=(("scale", e.STAR_SCALE), ("shift", e.STAR_SHIFT)),
    ),
    _record(e.sinlu, "Paul et al. 2022", (-0.49738, math.inf), "[)", False, params=(("a", 1.0), ("b", 1.0)), ulp=40),
    _gate(g.glu, "Dauphin et al. 2017, arXiv:1612.08083"),
    _gate(g.reglu, "Shazeer 2020, arXiv:2002.05202"),
    _gate(g.geglu, "Shazeer 2020, arXiv:2002.05202"),
    _gate(g.swiglu, "Shazeer 2020, arXiv:2002.05202"),
    _gate(g.bilinear, "Shazeer 2020, arXiv:2002.05202"),
    _gate(g.maxout_of(2), "Goodfellow et al. 2013, arXiv:1302.4389"),
    _gate(g.crelu, "Shang et al. 2016, arXiv:1603.05201", inputs=1, outputs=2),
)

ACTIVATIONS: dict[str, Activation] = {record.name: record for record in _RECORDS}
_NAMES = {alias: record for record in _RECORDS for alias in (record.name, *record.aliases)}


def get(activation) -> Activation:
    """The record of a name, an alias, a record, or any elementwise callable.

    Args:
      activation: a name such as "relu", an alias such as "atan", an `Activation`, or a function of an array.

    Returns:
      The `Activation`; for a caller's own function one without facts.

    Raises:
      ValueError: the name is unknown; the message has the nearest known ones.
      TypeError: neither a name nor a callable.

    >>> get("telu").name
    'tanh_exp'
    >>> get("rellu")
    Traceback (most recent call last):
    ValueError: unknown activation 'rellu'; did you mean relu, rrelu, relu6? jaxnn.ACTIVATIONS has all of them
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _NAMES:
            return _NAMES[activation]
        near = difflib.get_close_matches(activation, _NAMES, cutoff=0.5) or list(ACTIVATIONS)[:3]
        raise ValueError(
            f"unknown activation {activation!r}; did you mean {', '.join(near)}? jaxnn.ACTIVATIONS has all of them"
        )
    if not callable(activation):
        raise TypeError(f"activation {activation!r}; expected a name such as 'relu', an Activation or a function")
    return Activation(getattr(activation, "__name__", type(activation).__name__), activation)


def maxout(pieces: int) -> Activation:
    """Maxout over k affine pieces, max(z₁, …, z_k); `get("maxout")` has two.

    >>> maxout(3).inputs
    3
    """
    if pieces < 2:
        raise ValueError(f"maxout({pieces}); expected at least two pieces")
    return Activation("maxout", g.maxout_of(pieces), ACTIVATIONS["maxout"].source, inputs=pieces)
