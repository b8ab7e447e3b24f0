"""Predictions to numbers: what is reported. The loss is what is minimised (see `heads`).

A metric is a pure function of probabilities (n, classes) and integer labels (n,). Rows may carry weights (n,), zero for
rows that only pad a batch; no weights means one for every row. The predicted class is the one of the largest
probability, the first of them where several are equal. Results are float32, or float64 for float64 probabilities,
because a sum over rows has more digits than a half-precision probability.

Where the labels lack a class, means over rows do not notice. Means over classes leave it out: balanced_accuracy and
roc_auc always, macro_f1 unless a row is predicted as it, which is an F1 of 0. What is left without any term is NaN: the
roc_auc of rows that are all of one class, and everything where no row has a weight.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .dtypes import as_floating
from .labels import one_hot
from .names import nearest


def _prepare(probabilities, labels, weights):
    """Probabilities, e_y and weights in the dtype that the metric is computed in."""
    probabilities, labels = as_floating(probabilities), jnp.asarray(labels)
    targets = one_hot(labels, probabilities)
    dtype = np.promote_types(probabilities.dtype, jnp.float32)
    weights = jnp.ones(labels.shape, dtype) if weights is None else jnp.asarray(weights).astype(dtype)
    if weights.shape != labels.shape:
        raise ValueError(f"weights of shape {weights.shape}; expected {labels.shape}, one for each row")
    return probabilities.astype(dtype), targets.astype(dtype), weights


def _mean(values, weights):
    """Σ w v / Σ w, with 0 · ∞ = 0: a row of no weight has no say, whatever its value."""
    return jnp.sum(jnp.where(weights == 0, 0, values) * weights) / jnp.sum(weights)


def _mean_where(present, values):
    return jnp.sum(jnp.where(present, values, 0)) / jnp.sum(present, dtype=values.dtype)


def _predicted(probabilities):
    return one_hot(jnp.argmax(probabilities, axis=-1), probabilities)


def _at(targets, probabilities):
    """p_y, the probability of the true class."""
    return jnp.sum(targets * probabilities, axis=-1)


def accuracy(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Share of the rows whose predicted class is the true one: mean of [argmaxₖ pₖ = y].

    >>> float(accuracy(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([0, 1])))
    0.5
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    return _mean(_at(targets, _predicted(p)), weights)


def confusion_matrix(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Weight of the rows of true class i (rows) that were predicted as class j (columns); returns (classes, classes).

    >>> confusion_matrix(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([0, 1])).tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    return jnp.matmul((targets * weights[:, None]).T, _predicted(p), precision="highest")


def balanced_accuracy(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Mean over the classes of their recall, Cₖₖ / Σⱼ Cₖⱼ C the confusion matrix; classes without rows left out.

    >>> float(balanced_accuracy(jnp.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), jnp.array([0, 0, 1])))
    0.5
    """
    matrix = confusion_matrix(probabilities, labels, weights)
    rows = matrix.sum(axis=1)
    return _mean_where(rows > 0, jnp.diagonal(matrix) / jnp.where(rows > 0, rows, 1))


def macro_f1(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Mean over the classes of F1 = 2 Cₖₖ / (Σⱼ Cₖⱼ + Σᵢ Cᵢₖ); classes neither true nor predicted left out.

    >>> float(macro_f1(jnp.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), jnp.array([0, 0, 1])))
    1.0
    """
    matrix = confusion_matrix(probabilities, labels, weights)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    return _mean_where(both > 0, 2 * jnp.diagonal(matrix) / jnp.where(both > 0, both, 1))


def log_likelihood(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Mean of log p_y.

    A probability of zero counts as the smallest normal number of the dtype it came in (1.2e-38 in float32): one such
    row would make the mean −∞. `zero_probability_share` says how many there are.

    >>> round(float(log_likelihood(jnp.array([[0.5, 0.5], [0.75, 0.25]]), jnp.array([0, 1]))), 4)
    -1.0397
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    smallest = float(jnp.finfo(as_floating(probabilities).dtype).tiny)
    return _mean(jnp.log(jnp.maximum(_at(targets, p), smallest)), weights)


def least_probability(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The smallest probability of a true class, min p_y: above ½ every row is right. Rows of no weight have no say.

    >>> float(least_probability(jnp.array([[0.5, 0.5], [0.25, 0.75]]), jnp.array([0, 1])))
    0.5
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    least = jnp.min(jnp.where(weights > 0, _at(targets, p), 1))
    return jnp.where(jnp.sum(weights) > 0, least, jnp.nan)


def zero_probability_share(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Share of the rows that give the true class no probability at all: mean of [p_y = 0].

    >>> float(zero_probability_share(jnp.array([[1.0, 0.0], [0.5, 0.5]]), jnp.array([1, 1])))
    0.5
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    return _mean((_at(targets, p) == 0).astype(p.dtype), weights)


def brier(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Mean of Σₖ (pₖ − [k = y])², Brier's own definition (1950): 0 to 2, with two classes twice (p₁ − y)².

    >>> float(brier(jnp.array([[0.5, 0.5], [0.0, 1.0]]), jnp.array([0, 1])))
    0.25
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    return _mean(jnp.sum(jnp.square(p - targets), axis=-1), weights)


def calibration_error(
    probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None, bins: int = 15
) -> jax.Array:
    """Expected calibration error: Σ_b (W_b / W) |accuracy_b − confidence_b|.

    The rows fall into `bins` bins of equal width, (b/bins, (b+1)/bins], by their confidence maxₖ pₖ; W_b is the weight
    in bin b. Source: Guo, Pleiss, Sun & Weinberger 2017, section 2.

    >>> round(float(calibration_error(jnp.array([[0.9, 0.1], [0.9, 0.1]]), jnp.array([0, 1]))), 4)
    0.4
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    confidence = jnp.max(p, axis=-1)
    gap = _at(targets, _predicted(p)) - confidence
    bin_of = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    members = jax.nn.one_hot(bin_of, bins, dtype=p.dtype)
    return jnp.sum(jnp.abs(jnp.sum(members * (weights * gap)[:, None], axis=0))) / jnp.sum(weights)


def _auc(scores, positive, weights):
    """P(score of a positive row > that of a negative one) + ½ P(equal), and whether there are rows of both kinds."""
    gains, losses = weights * positive, weights * (1 - positive)
    order = jnp.argsort(scores)
    below = jnp.concatenate([jnp.zeros(1, losses.dtype), jnp.cumsum(losses[order])])
    ranked = scores[order]
    less, at_most = (below[jnp.searchsorted(ranked, scores, side=side)] for side in ("left", "right"))
    pairs = jnp.sum(gains) * jnp.sum(losses)
    return jnp.sum(gains * (less + at_most)) / 2 / jnp.where(pairs > 0, pairs, 1), pairs > 0


def roc_auc(probabilities: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Area under the ROC curve: the chance that a row of the class has more of its probability than one of the others.

    Ties count half. With two classes it is the area for class 1, with more the mean over the classes, each against the
    rest; classes without rows, or without rows of any other class, are left out. Time O(n log n).

    >>> float(roc_auc(jnp.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), jnp.array([0, 1, 1])))
    1.0
    """
    p, targets, weights = _prepare(probabilities, labels, weights)
    first = 1 if p.shape[-1] == 2 else 0
    areas, defined = jax.vmap(_auc, in_axes=(1, 1, None))(p[:, first:], targets[:, first:], weights)
    return _mean_where(defined, areas)


class Metric(NamedTuple):
    """A metric and what must be known to read it."""

    name: str
    fn: Callable[..., jax.Array]  # (probabilities (n, classes), labels (n,), weights (n,) or None) -> scalar
    greater_is_better: bool
    range: tuple[float, float]
    formula: str


METRICS: dict[str, Metric] = {
    fn.__name__: Metric(fn.__name__, fn, greater_is_better, bounds, formula)
    for fn, greater_is_better, bounds, formula in (
        (accuracy, True, (0, 1), "mean [argmaxₖ pₖ = y]"),
        (balanced_accuracy, True, (0, 1), "meanₖ Cₖₖ / Σⱼ Cₖⱼ"),
        (macro_f1, True, (0, 1), "meanₖ 2 Cₖₖ / (Σⱼ Cₖⱼ + Σᵢ Cᵢₖ)"),
        (log_likelihood, True, (-float("inf"), 0), "mean log p_y"),
        (least_probability, True, (0, 1), "min p_y"),
        (brier, False, (0, 2), "mean Σₖ (pₖ − [k = y])²"),
        (calibration_error, False, (0, 1), "Σ_b (W_b / W) |accuracy_b − confidence_b|"),
        (roc_auc, True, (0, 1), "meanₖ P(pₖ | y = k  >  pₖ | y ≠ k), ties half"),
        (zero_probability_share, False, (0, 1), "mean [p_y = 0]"),
    )
}


def get(metric: str | Metric) -> Metric:
    """The record of a metric, by its name; a record is returned as it is.

    Raises ValueError for an unknown name, with the nearest known ones.

    >>> get("brier").greater_is_better
    False
    """
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")
    return METRICS[metric]


def row_values(metric: Metric, probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    """What each row adds to a metric: values whose mean is the metric, and whose spread is that of its influence.

    vᵢ = m + n ∂m/∂wᵢ at w = 1, the infinitesimal jackknife. Of accuracy it is right or wrong, of the ROC area DeLong's
    placement values.

    Args: metric; probabilities (n, classes); labels (n,). Returns (n,).

    >>> row_values(METRICS["accuracy"], jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([0, 1])).tolist()
    [1.0, 0.0]

    Source: Jaeckel 1972; Efron 1982, "The jackknife, the bootstrap and other resampling plans", chapter 6.
    """
    weights = jnp.ones(labels.shape, jnp.promote_types(probabilities.dtype, jnp.float32))
    value, slope = jax.value_and_grad(lambda w: metric.fn(probabilities, labels, w))(weights)
    return value + len(labels) * slope
