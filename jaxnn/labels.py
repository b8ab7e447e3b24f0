"""Integer labels: checked, as unit vectors, and as weights of the rows they belong to."""

import jax
import jax.numpy as jnp
import numpy as np


def check_labels(labels, classes: int) -> None:
    """Check on the host that labels are integers in 0 … classes − 1; inside `jax.jit` values cannot be looked at.

    Args:
      labels: concrete array (n,).
      classes: the number of classes.

    Raises:
      ValueError: the labels are not integers, or one of them is outside the classes.

    >>> check_labels([0, 2, 1], classes=3)
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels have dtype {labels.dtype}; expected integers: labels.astype('int32')")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise ValueError(
            f"labels: {outside.sum()} outside the {classes} classes, the first is {labels[outside][0]}; expected "
            f"0 to {classes - 1}: number the classes from 0, numpy.unique(labels, return_inverse=True)[1] does it"
        )


def one_hot(labels: jax.Array, rows: jax.Array) -> jax.Array:
    """The unit vectors e_y for rows (…, classes) of scores or probabilities, by comparison: no gather, no scatter.

    Args: labels (…,) integers; rows (…, classes), which give the number of classes and the dtype. A label outside the
    classes gives zeros (`check_labels` finds it). Returns (…, classes).

    Raises ValueError where labels and rows do not fit.

    >>> one_hot(jnp.array([1, 0]), jnp.zeros((2, 3))).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    if not jnp.issubdtype(rows.dtype, jnp.floating):
        raise ValueError(f"scores or probabilities have dtype {rows.dtype}; expected floating point")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels have dtype {labels.dtype}; expected integers: labels.astype('int32')")
    if labels.shape != rows.shape[:-1]:
        raise ValueError(
            f"labels of shape {labels.shape} do not fit scores or probabilities of shape {rows.shape}; expected labels "
            f"of shape {rows.shape[:-1]}, one integer for each row (one-hot labels: labels.argmax(-1))"
        )
    return jax.nn.one_hot(labels, rows.shape[-1], dtype=rows.dtype)


def of_class(targets, values) -> jax.Array:
    """v_y of values (…, classes) for the unit vectors e_y; the others may be infinite, which e_y · v would not bear.

    >>> of_class(jnp.array([0.0, 1.0]), jnp.array([-jnp.inf, 3.0])).item()
    3.0
    """
    return jnp.sum(jnp.where(targets > 0, values, 0), axis=-1)


def weighted_mean(
    losses: jax.Array,
    labels: jax.Array,
    class_weight: jax.Array | None = None,
    sample_weight: jax.Array | None = None,
) -> jax.Array:
    """The number to minimise: Σ w L / Σ w with w = class_weight[y] · sample_weight.

    A row of weight zero has no say and no gradient, whatever its loss.

    Args:
      losses: (…,), one for each row.
      labels: (…,) integers.
      class_weight: (classes,), ≥ 0; None means 1.
      sample_weight: (…,), ≥ 0; None means 1.

    Returns:
      A scalar of the dtype of the losses; NaN where all weights are zero.

    Raises:
      ValueError: the shapes do not fit, or a label is beyond the class weights (inside `jax.jit` that gives NaN).

    >>> weighted_mean(jnp.array([1.0, 4.0]), jnp.array([0, 1]), class_weight=jnp.array([2.0, 1.0])).item()
    2.0
    """
    losses, labels = jnp.asarray(losses), jnp.asarray(labels)
    losses = losses.astype(jnp.promote_types(losses.dtype, jnp.float32)) if losses.dtype.kind in "iub" else losses
    if losses.shape != labels.shape:
        raise ValueError(f"losses of shape {losses.shape}, labels of shape {labels.shape}; expected one shape for both")
    weights = jnp.ones(losses.shape, np.promote_types(losses.dtype, jnp.float32))
    if sample_weight is not None:
        sample_weight = jnp.asarray(sample_weight)
        if sample_weight.shape != losses.shape:
            raise ValueError(f"sample_weight of shape {sample_weight.shape}; expected {losses.shape}, one for each row")
        weights = weights * sample_weight.astype(weights.dtype)
    if class_weight is not None:
        class_weight = jnp.asarray(class_weight)
        if class_weight.ndim != 1:
            raise ValueError(f"class_weight of shape {class_weight.shape}; expected (classes,), one for each class")
        if not isinstance(labels, jax.core.Tracer):
            check_labels(labels, len(class_weight))
        table = jnp.broadcast_to(class_weight.astype(weights.dtype), (*labels.shape, *class_weight.shape))
        known = (labels >= 0) & (labels < len(class_weight))
        weights = weights * jnp.where(known, jnp.sum(one_hot(labels, table) * table, axis=-1), jnp.nan)
    total = jnp.sum(jnp.where(weights == 0, 0, losses.astype(weights.dtype)) * weights)
    return (total / jnp.sum(weights)).astype(losses.dtype)
