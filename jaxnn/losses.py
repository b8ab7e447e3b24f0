"""Other losses on the scores of a head: each function takes a head and returns it with that loss.

They are built from the head's own loss L(z, y) and probabilities p, so they apply to every head and to one another;
where the head's loss is −log p_y (`head.log_loss`) they are the formulas of their papers. Only the two margin losses,
which compare scores, ask for a head in which a larger score is a larger probability (`head.ordered`).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from .dtypes import floating
from .heads import Head, get, remembered
from .labels import of_class, one_hot


def _with_loss(head, name, loss, formula, source):
    facts = {"log_loss": False, "fenchel_young": False}
    return replace(head, name=f"{name}({head.name})", loss=floating(loss), loss_formula=formula, source=source, **facts)


def _miss(p, labels):
    """1 − p_y, as the sum of the other probabilities: exact where p_y is almost 1."""
    return jnp.sum((1 - one_hot(labels, p)) * p, axis=-1)


@jax.custom_jvp
def _held(losses):
    """Losses beyond the dtype as its largest number, with their own slopes."""
    return jnp.minimum(losses, jnp.finfo(losses.dtype).max)


@_held.defjvp
def _(primals, tangents):
    return _held(*primals), tangents[0]


@remembered
def with_label_smoothing(head: str | Head = "softmax", alpha: float = 0.1) -> Head:
    """The head with its loss averaged over smoothed labels: (1 − α) L(z, y) + α/K Σₖ L(z, k).

    K classes, without those that are masked. For softmax this is the cross-entropy with optax.losses.smooth_labels; the
    same holds for every head whose loss is linear in e_y, which is all of them.

    Args: 0 ≤ alpha ≤ 1. Source: Szegedy et al. 2016.

    >>> print(with_label_smoothing("softmax", 0.1).loss(jnp.array([2.0, 0.0]), jnp.array(0)).round(4))
    0.2269
    """
    head = get(head)
    if not 0 <= alpha <= 1:
        raise ValueError(f"with_label_smoothing: alpha={alpha}; expected a share from 0 to 1, e.g. 0.1")

    def loss(scores, labels):
        classes = jax.eval_shape(head.probabilities, scores).shape[-1]
        every = jax.lax.broadcasted_iota(labels.dtype, (classes, *labels.shape), 0)
        losses = jax.vmap(head.loss, (None, 0), -1)(scores, every)
        possible = scores > -jnp.inf if scores.shape == losses.shape else losses < jnp.inf
        share = 1 / jnp.maximum(jnp.sum(possible, axis=-1, keepdims=True, dtype=losses.dtype), 1)
        mean = jnp.sum(jnp.where(possible, _held(losses), 0) * share, axis=-1)
        return alpha * mean + ((1 - alpha) * head.loss(scores, labels) if alpha < 1 else 0)

    return _with_loss(
        head, "label_smoothing", loss, f"(1 − α) L(z, y) + α/K Σₖ L(z, k), α = {alpha}", "Szegedy et al. 2016"
    )


@remembered
def with_focal_loss(head: str | Head = "softmax", gamma: float = 2.0) -> Head:
    """The head with its loss turned down where it is right already: (1 − p_y)^γ L(z, y).

    Args: gamma ≥ 0; 0 is the head's own loss. Source: Lin et al. 2017.

    >>> print(with_focal_loss("softmax").loss(jnp.zeros(2), jnp.array(0)).round(4))
    0.1733
    """
    head = get(head)
    if not gamma >= 0:
        raise ValueError(f"with_focal_loss: gamma={gamma}; expected a number of at least 0, e.g. 2.0")

    def loss(scores, labels):
        p = head.probabilities(scores)
        right = of_class(one_hot(labels, p), p)
        miss = jnp.where(right > 0, _miss(p, labels), 1)  # flat where p_y is 0, and the loss large or infinite
        # Where γ < 1 the slopes of miss^γ are infinite at zero; the second overflows below the root of the smallest.
        least = jnp.finfo(miss.dtype).tiny ** 0.5
        down, own = jnp.where(miss > least, miss, least) ** gamma, head.loss(scores, labels)
        # What multiplies the slope of `down` is kept so small that γ times it is finite: infinity times 0 is NaN.
        most = float(jnp.finfo(own.dtype).max) / (4 + 4 * gamma)
        beyond, still = own > most, jax.lax.stop_gradient(down)
        return jnp.where(beyond, still * own + (down - still) * most, down * jnp.where(beyond, 0, own))

    return _with_loss(head, "focal", loss, f"(1 − p_y)^γ L(z, y), γ = {gamma}", "Lin et al. 2017")


@remembered
def with_poly_loss(head: str | Head = "softmax", epsilon: float = 2.0) -> Head:
    """The head with poly-1, its loss with the first coefficient of the Taylor series moved: L(z, y) + ε (1 − p_y).

    Args: epsilon ≥ −1, else a right answer would be punished. Source: Leng et al. 2022.

    >>> print(with_poly_loss("softmax", 1.0).loss(jnp.zeros(2), jnp.array(0)).round(4))
    1.1931
    """
    head = get(head)
    if not epsilon >= -1:
        raise ValueError(f"with_poly_loss: epsilon={epsilon}; expected a number of at least −1, e.g. 2.0")

    def loss(scores, labels):
        return head.loss(scores, labels) + epsilon * _miss(head.probabilities(scores), labels)

    return _with_loss(head, "poly", loss, f"L(z, y) + ε (1 − p_y), ε = {epsilon}", "Leng et al. 2022")


@remembered
def with_squared_loss(head: str | Head = "softmax") -> Head:
    """The head with Brier's loss, the squared distance of the probabilities from the truth: Σₖ (pₖ − [k = y])².

    Source: Brier 1950.

    >>> with_squared_loss("softmax").loss(jnp.zeros(2), jnp.array(0)).item()
    0.5
    """
    head = get(head)

    def loss(scores, labels):
        p = head.probabilities(scores)
        return jnp.sum(jnp.square(p - one_hot(labels, p)), axis=-1)

    return _with_loss(head, "squared", loss, "Σₖ (pₖ − [k = y])²", "Brier 1950")


def _margin(head, name, cost, formula, source):
    """The head with the loss maxₖ (zₖ + cost [k ≠ y]) − z_y; a single score z stands for the scores (0, z)."""
    head = get(head)
    if not head.ordered:
        raise ValueError(
            f"{name} compares the scores of the classes, and in the head {head.name!r} a larger score is not a larger "
            "probability; use 'softmax', 'one_vs_rest' or 'sparsemax'"
        )

    def loss(scores, labels):
        missing = jax.eval_shape(head.probabilities, scores).shape[-1] - scores.shape[-1]
        z = jnp.pad(scores, [*[(0, 0)] * labels.ndim, (missing, 0)])
        targets = one_hot(labels, z)
        # optax's two take float32 one-hots and a batched dot product: neither keeps the dtype, nor fuses.
        return jnp.max(z + cost * (1 - targets), axis=-1) - of_class(targets, z)

    return _with_loss(head, name, loss, formula, source)


@remembered
def with_hinge_loss(head: str | Head = "softmax") -> Head:
    """The head with the multiclass hinge loss: maxₖ (zₖ + [k ≠ y]) − z_y, zero where the margin is at least 1.

    The probabilities stay the head's: nothing in this loss makes them calibrated. At a tie the slope is shared equally.
    Source: Crammer & Singer 2001.

    >>> with_hinge_loss("sigmoid").loss(jnp.array([0.25]), jnp.array(1)).item()
    0.75
    """
    return _margin(head, "hinge", 1, "maxₖ (zₖ + [k ≠ y]) − z_y", "Crammer & Singer 2001")


@remembered
def with_perceptron_loss(head: str | Head = "softmax") -> Head:
    """The head with the multiclass perceptron loss: maxₖ zₖ − z_y, zero where the answer is right.

    All scores equal is a minimum as well: start from weights other than zero. At a tie the slope is shared equally.
    Source: Collins 2002.

    >>> with_perceptron_loss("sigmoid").loss(jnp.array([-0.25]), jnp.array(1)).item()
    0.25
    """
    return _margin(head, "perceptron", 0, "maxₖ zₖ − z_y", "Collins 2002")
