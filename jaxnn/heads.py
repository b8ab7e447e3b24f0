"""Scores to probabilities, with the loss that belongs to each: the last step of a classifier.

A head is a pair of pure functions: `probabilities(scores)` (…, scores) -> (…, classes), and `loss(scores, labels)` with
integer labels (…,) -> one loss for each row (…,). Most heads take one score for each class; `head.scores(classes)` says
how many it needs. The same call gives the same head, so nothing compiles twice.

A score of −∞ masks its class: probability 0, and no part in the loss, which is ∞ where the true class is masked. Where
all scores are −∞, or one is ∞ or NaN, probabilities and loss are NaN.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, wraps

import jax
import jax.numpy as jnp

from .dtypes import floating
from .labels import of_class, one_hot
from .names import nearest
from .sigmoids import sigmoid


@dataclass(frozen=True)
class Head:
    """Scores to probabilities and to a loss, and the facts about both that the tests recompute."""

    name: str
    probabilities: Callable[[jax.Array], jax.Array]  # (…, scores) -> (…, classes), ≥ 0, sum 1
    loss: Callable[[jax.Array, jax.Array], jax.Array]  # (…, scores), (…,) integers -> (…,)
    formula: str  # the probabilities
    loss_formula: str
    source: str
    scores: Callable[[int], int] = int  # number of classes -> number of scores
    shift_invariant: bool = False  # z + c has the probabilities of z
    ordered: bool = True  # a larger score of a class is a larger probability of it
    log_loss: bool = True  # the loss is −log p_y
    fenchel_young: bool = False  # ∂L/∂z = p − e_y, where there is one score for each class
    sparse: bool = False  # probabilities may be exactly zero
    made_by: tuple = field(default=(), compare=False, repr=False)  # the factory and its arguments, where there is one

    def __reduce_ex__(self, protocol):
        """Pickled as its name or the call that makes it, because closures cannot be: it comes back as the same head."""
        if HEADS.get(self.name) == self:
            return get, (self.name,)
        made = self.made_by and self.made_by[0](*self.made_by[1]) == self  # and not changed since
        return self.made_by if made else super().__reduce_ex__(protocol)


def remembered(make: Callable[..., Head]) -> Callable[..., Head]:
    """A factory of heads that makes one head of the same arguments, however they are given, and notes them in it.

    >>> temperature(3.0) is temperature(3.0), temperature(3.0).made_by[1]
    (True, (3.0,))
    """
    signature = inspect.signature(make)

    @cache
    def made(*arguments):
        return replace(make(*arguments), made_by=(factory, arguments))

    @wraps(make)
    def factory(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return made(*map(_argument, bound.args))

    return factory


def _argument(given):
    """The head of a name, and the float of a whole number, which the cache would tell apart."""
    if isinstance(given, str):
        return HEADS.get(given, given)
    return float(given) if isinstance(given, int) else given


def _stated(value, slope):
    """A loss with its derivative by the scores stated: exact at ties and far out, and cheaper than derived."""

    @jax.custom_jvp
    def loss(scores, truth):
        return value(scores, truth)

    @loss.defjvp
    def jvp(primals, tangents):
        return loss(*primals), jnp.sum(slope(*primals) * tangents[0], axis=-1)

    return loss


# Softmax of the scores, each transformed first: p = softmax(g(z)), ∂L/∂z = (p − e_y) g′(z).


_cross_entropy = _stated(
    lambda scores, targets: -of_class(targets, jax.nn.log_softmax(scores, axis=-1)),
    lambda scores, targets: jax.nn.softmax(scores, axis=-1) - targets,
)


def _softmax_of(transform: Callable[[jax.Array], jax.Array], name: str, formula: str, source: str, **facts) -> Head:
    @floating
    def probabilities(scores):
        return jax.nn.softmax(transform(scores), axis=-1)

    @floating
    def loss(scores, labels):
        return _cross_entropy(transform(scores), one_hot(labels, scores))

    return Head(name, probabilities, loss, formula, "−log p_y", source, **facts)


@remembered
def temperature(value: float, /) -> Head:
    """Softmax of the scores divided by a temperature: p = softmax(z / T), L = −log p_y, ∂L/∂z = (p − e_y) / T.

    Args: value, T > 0; above 1 the probabilities are more alike. Source: Hinton, Vinyals & Dean 2015; Guo et al. 2017.

    >>> print(temperature(2.0).probabilities(jnp.array([0.0, 2.0])))
    [0.26894143 0.7310586 ]
    """
    if not value > 0:
        raise ValueError(f"temperature: value={value}; expected a number above 0, e.g. temperature(2.0)")
    name = "temperature" if value == 2 else f"temperature({value})"
    source = "Hinton, Vinyals & Dean 2015; Guo et al. 2017"

    # The largest is exactly 0, however z / T is rounded.
    return _softmax_of(lambda z: _below(z) / value, name, f"softmax(z / {value})", source, shift_invariant=True)


def _below(z):
    """Scores less their largest, which no softmax notices."""
    return z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))


def _log_square_plus(z, offset):
    """log(z² + offset²), where z² would overflow as well; −∞ where a class is masked."""
    masked = jnp.isneginf(z)
    root = jnp.hypot(jnp.where(masked, 0, z), jnp.full_like(z, offset))
    return jnp.where(masked, -jnp.inf, 2 * jnp.log(root))


_SOFTMAX = _softmax_of(
    lambda z: z, "softmax", "exp(zₖ) / Σⱼ exp(zⱼ)", "Bridle 1990", shift_invariant=True, fenchel_young=True
)
_SPHERICAL = _softmax_of(
    lambda z: _log_square_plus(z, 0.1),
    "spherical",
    "(zₖ² + ε) / Σⱼ (zⱼ² + ε), ε = 0.01",
    "de Brébisson & Vincent 2016",
    ordered=False,
)
_TAYLOR = _softmax_of(
    lambda z: _log_square_plus(z + 1, 1.0),  # 1 + z + z²/2 = ((z + 1)² + 1) / 2
    "taylor",
    "(1 + zₖ + zₖ²/2) / Σⱼ (1 + zⱼ + zⱼ²/2)",
    "de Brébisson & Vincent 2016",
    ordered=False,
)
_SIGSOFTMAX = _softmax_of(
    lambda z: _below(z) + jax.nn.log_sigmoid(z), "sigsoftmax", "exp(zₖ) σ(zₖ) / Σⱼ exp(zⱼ) σ(zⱼ)", "Kanai et al. 2018"
)


# Sigmoids: independent binary decisions.


def _two_classes(classes: int) -> int:
    if classes != 2:
        raise ValueError(f"the sigmoid head is for 2 classes, not {classes}; use 'softmax' or 'one_vs_rest'")
    return 1


def _sides(scores):
    """(−z, z): what speaks for class 0 and for class 1."""
    if scores.shape[-1] != 1:
        raise ValueError(f"the sigmoid head takes scores of shape (…, 1), not {scores.shape}: one score for each row")
    return jnp.concatenate([-scores, scores], axis=-1)


@floating
def _sigmoid_loss(scores, labels):
    return _cross_entropies(scores, one_hot(labels, _sides(scores))[..., 1:])


# optax.losses.sigmoid_binary_cross_entropy, summed; it takes two exponentials, and its derivative three more.
_cross_entropies = _stated(
    lambda scores, targets: jnp.sum(jax.nn.softplus((1 - 2 * targets) * scores), axis=-1),
    lambda scores, targets: (1 - 2 * targets) * sigmoid((1 - 2 * targets) * scores),  # σ(z) − y, never 1 − 1
)


_SIGMOID = Head(
    "sigmoid",
    floating(lambda scores: sigmoid(_sides(scores))),
    _sigmoid_loss,
    "(σ(−z), σ(z))",
    "softplus(−ỹz), ỹ = 2y − 1",
    "Cox 1958",
    scores=_two_classes,
)
_ONE_VS_REST = Head(
    "one_vs_rest",
    floating(lambda scores: jax.nn.softmax(jax.nn.log_sigmoid(scores), axis=-1)),  # σ(z) / Σ σ(z), never 0 / 0
    floating(lambda scores, labels: _cross_entropies(scores, one_hot(labels, scores))),
    "σ(zₖ) / Σⱼ σ(zⱼ)",
    "softplus(−z_y) + Σ_{k≠y} softplus(zₖ)",
    "Rifkin & Klautau 2004",
    log_loss=False,
)


def _log_stick(scores):
    """log p of stick-breaking: each score decides whether to stop at its class or to go on with what is left."""
    none = jnp.zeros_like(scores[..., :1])
    stop = jnp.concatenate([jax.nn.log_sigmoid(scores), none], axis=-1)
    passed = jnp.concatenate([none, jnp.cumsum(jax.nn.log_sigmoid(-scores), axis=-1)], axis=-1)
    return stop + passed


@floating
def _stick_loss(scores, labels):
    log_p = _log_stick(scores)
    return -of_class(one_hot(labels, log_p), log_p)


_STICK_BREAKING = Head(
    "stick_breaking",
    floating(lambda scores: jnp.exp(_log_stick(scores))),
    _stick_loss,
    "σ(zₖ) Π_{j<k} σ(−zⱼ), the last class Πⱼ σ(−zⱼ)",
    "−log p_y",
    "Linderman, Johnson & Adams 2015",
    scores=lambda classes: classes - 1,
    ordered=False,
)


# α-entmax: p = [1 + (α−1)(z − θ)]₊^{1/(α−1)} with θ such that Σ p = 1; α = 1 is softmax, 2 sparsemax.


def _sum_above(u):
    """For each score, a sum over the scores that are at least as large: all pairs, because a sort does not fuse."""
    above = (u[..., None, :] >= u[..., :, None]).astype(u.dtype)
    return lambda values: jnp.sum(above * values, axis=-1)


def _sparsemax(u):
    """[u − τ]₊. Any set of scores gives a lower bound of τ, and the support gives τ: the maximum is exact."""
    total, others = _sum_above(u), u[..., None, :]
    tau = jnp.max((total(others) - 1) / total(jnp.ones_like(others)), axis=-1, keepdims=True)
    return jnp.maximum(u - tau, 0)


def _entmax15(u):
    """[u/2 − τ]₊². The largest k scores give τ by a quadratic, which grows with k up to the support and is τ there."""
    x = u / 2
    total, others = _sum_above(x), x[..., None, :]
    k = total(jnp.ones_like(others))
    mean = total(others) / k
    spread = total(jnp.square(others - mean[..., None]))
    tau = mean - jnp.sqrt(jnp.maximum((1 - spread) / k, 0))
    tau = jnp.max(jnp.where(tau <= x, tau, -1), axis=-1, keepdims=True)
    return jnp.square(jnp.maximum(x - tau, 0))


def _entmax_by_bisection(u, alpha):
    """θ lies between 0 (the largest score alone) and (1 − K^{1−α})/(α−1) (all scores equal)."""

    def power(theta):
        base = (alpha - 1) * (u - theta)
        inside = base > -1
        return jnp.where(inside, jnp.exp(jnp.log1p(jnp.where(inside, base, 0)) / (alpha - 1)), 0)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        too_low = jnp.sum(power(middle), axis=-1, keepdims=True) > 1
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    low = jnp.zeros_like(u[..., :1])
    high = jnp.full_like(low, (1 - u.shape[-1] ** (1 - alpha)) / (alpha - 1))
    p = power(jax.lax.fori_loop(0, jnp.finfo(u.dtype).nmant + 3, halve, (low, high))[0])
    return p / jnp.sum(p, axis=-1, keepdims=True)


def _entmax_probabilities(alpha):
    solve = {1.5: _entmax15, 2.0: _sparsemax}.get(alpha, lambda u: _entmax_by_bisection(u, alpha))

    @jax.custom_jvp
    def probabilities(scores):
        u = scores - jnp.max(scores, axis=-1, keepdims=True)
        # A score 1/(α−1) or more below the largest gets nothing. Clipped there, its square cannot overflow.
        return solve(jnp.maximum(u, -1 / (alpha - 1)))

    @probabilities.defjvp
    def jvp(primals, tangents):
        p, (dz,) = probabilities(*primals), tangents
        support = p > 0
        s = jnp.where(support, jnp.where(support, p, 1) ** (2 - alpha), 0)
        return p, s * (dz - jnp.sum(s * dz, axis=-1, keepdims=True) / jnp.sum(s, axis=-1, keepdims=True))

    return probabilities


def _fenchel_young(probabilities, entropy):
    """L = (p − e_y)·z + H(p) ≥ 0; its derivative is p − e_y, because p maximises p·z + H(p)."""

    def value(scores, labels):
        p, below = probabilities(scores), scores - jnp.max(scores, axis=-1, keepdims=True)
        share = p - one_hot(labels, scores)
        return jnp.maximum(jnp.sum(jnp.where(share == 0, 0, below) * share, axis=-1) + entropy(p), 0)

    return _stated(value, lambda scores, labels: probabilities(scores) - one_hot(labels, scores))


@remembered
def entmax(alpha: float, /) -> Head:
    """α-entmax: p = [(α−1)z − τ]₊^{1/(α−1)} with τ such that Σ p = 1; sparse for α > 1, exactly zero far below the top.

    L = (p − e_y)·z + H_α(p) with Tsallis' entropy H_α = Σ (p − p^α) / (α(α−1)); ∂L/∂z = p − e_y. α = 1 is softmax,
    α = 2 sparsemax; 1.5 and 2 are solved exactly, other α by bisection to the last digits.

    Args: alpha ≥ 1. Source: Peters, Niculae & Martins 2019.

    >>> entmax(1.5).probabilities(jnp.array([0.0, 2.0])).tolist()
    [0.0, 1.0]
    """
    if not alpha >= 1:
        raise ValueError(f"entmax: alpha={alpha}; expected 1 (softmax), 2 (sparsemax) or another number above 1")
    if alpha == 1:
        return _SOFTMAX

    def entropy(p):
        logs = jnp.log(jnp.where(p > 0, p, 1))
        return -jnp.sum(p * jnp.expm1((alpha - 1) * logs), axis=-1) / (alpha * (alpha - 1))

    probabilities = _entmax_probabilities(float(alpha))
    return Head(
        {1.5: "entmax", 2: "sparsemax"}.get(alpha, f"entmax({alpha})"),
        floating(probabilities),
        floating(_fenchel_young(probabilities, entropy)),
        "[zₖ − τ]₊" if alpha == 2 else f"[(α−1)zₖ − τ]₊^(1/(α−1)), α = {alpha}",
        "(p − e_y)·z + H(p), H = Σ (p − p^α) / (α(α−1))",
        "Martins & Astudillo 2016" if alpha == 2 else "Peters, Niculae & Martins 2019",
        shift_invariant=True,
        log_loss=False,
        fenchel_young=True,
        sparse=True,
    )


HEADS: dict[str, Head] = {
    head.name: head
    for head in (
        _SOFTMAX,
        temperature(2.0),
        _SIGMOID,
        _ONE_VS_REST,
        entmax(2.0),
        entmax(1.5),
        _SPHERICAL,
        _TAYLOR,
        _SIGSOFTMAX,
        _STICK_BREAKING,
    )
}


def get(head: str | Head) -> Head:
    """The record of a head, by its name; a record is returned as it is.

    Raises ValueError for an unknown name, with the nearest known ones.

    >>> get("softmax").probabilities(jnp.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    if isinstance(head, Head):
        return head
    if head not in HEADS:
        raise ValueError(f"unknown head {head!r}; {nearest(head, HEADS)}")
    return HEADS[head]
