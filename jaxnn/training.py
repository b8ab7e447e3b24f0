"""A training run as one pure function: loss -> `jax.grad` -> optax -> `lax.scan`. It knows no model."""

import inspect
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax


class Network(NamedTuple):
    """Two pure functions that make anything a network: a Flax or Equinox module, or a few lines of jnp.

    `init(key) -> params`, a pytree of arrays; `apply(params, x) -> scores`, x (rows, features) or any pytree of arrays
    whose first axis is rows, scores (rows, classes) or what else the loss takes.
    An `apply` that draws random numbers takes them from an optional argument `key` and has its expectation without one;
    an attribute `random`, where there is one, says whether it does.
    """

    init: Callable
    apply: Callable


class History(NamedTuple):
    """What was measured at each evaluation, the first one before any step; arrays of shape (evaluations,)."""

    step: jax.Array
    loss: jax.Array
    metric: jax.Array
    validation_loss: jax.Array
    validation_metric: jax.Array


class Run(NamedTuple):
    """The result of one training run; every leaf is an array, so a run can be mapped."""

    params: Any  # after the last step; of a diverged run, at its last finite evaluation
    best_params: Any  # at the best evaluation of the metric on the validation rows; the last where it is never defined
    history: History
    best_step: jax.Array  # () int32
    best_metric: jax.Array  # () the validation metric there
    last_step: jax.Array  # () int32, where training stopped: all steps, or fewer by patience or divergence
    target_step: jax.Array  # () int32, the first evaluation that reached the target; `last_step` where none did
    reached: jax.Array  # () bool; False censors target_step
    diverged: jax.Array  # () bool, the loss became infinite or NaN


def train_step(network, loss: Callable, optimizer, params, state, x, y, key=None):
    """One step of gradient descent: (params, state) -> (params − update(∇L), state).

    Args:
      network: anything with `apply(params, x) -> scores`.
      loss: (scores, labels) -> losses of shape (rows,), or their mean.
      optimizer: an optax gradient transformation; one that asks for the loss or for the function gets it.
      params: the network's parameters.
      state: the optimizer's state.
      x: (rows, features), or any pytree of arrays whose first axis is rows.
      y: (rows,) labels.
      key: for networks that draw random numbers.

    Returns:
      The new params, the new state, and the loss before the step, a scalar.

    >>> network = Network(lambda key: jnp.zeros((2, 3)), lambda w, x: x @ w)
    >>> sgd = optax.sgd(0.1)
    >>> w = network.init(None)
    >>> loss = optax.losses.softmax_cross_entropy_with_integer_labels
    >>> w, state, L = train_step(network, loss, sgd, w, sgd.init(w), jnp.ones((1, 2)), jnp.array([1]))
    >>> print(f"{L:.4f}", w[0].round(4))
    1.0986 [-0.0333  0.0667 -0.0333]
    """
    apply = network.apply if key is None else partial(network.apply, key=key)

    def mean_loss(params):
        return _mean_loss(loss, apply(params, x), y)

    value, gradient = jax.value_and_grad(mean_loss)(params)
    # Polyak's step asks for the loss and a line search for the function as well; the others ignore them.
    more = {"value": value, "grad": gradient, "value_fn": mean_loss}
    updates, state = optax.with_extra_args_support(optimizer).update(gradient, state, params, **more)
    return optax.apply_updates(params, updates), state, value


def fit(
    key,
    network,
    train,
    make_optimizer: Callable,
    scalars: Mapping[str, Any],
    *,
    params: Any = None,
    order: jax.Array | None = None,
    loss: Callable,
    epochs: int,
    batch_size: int | None = None,
    evaluate_every: int = 1,
    validation=None,
    metric: Callable | None = None,
    greater_is_better: bool = True,
    target: float | None = None,
    patience: int | None = None,
) -> Run:
    """Train one network: θ ← θ − update(∇L(θ)), for a number of epochs.

    A pure function, compiled once for each set of static arguments; call it plainly, or inside `jax.jit`, `jax.vmap` or
    `ensemble`. Traced, so free to change without compiling again and free to be mapped: `key`, the rows of `train` and
    `validation`, floats and arrays in `scalars`, `params`, `order` and `target`. Static: everything else, and the
    shapes.

    The parameters are drawn from `fold_in(key, 0)`, the order of the rows from `fold_in(key, 1)`, random numbers inside
    the network from `fold_in(key, 2)`. Parameters and order may also be given: an order that is not mapped is shared
    by all networks, so that the first layer of all of them is one matrix product.

    Args:
      key: a JAX random key.
      network: `init(key)` and `apply(params, x)`; if it has `check(x, y)`, that is called on concrete rows first.
      train: (x, y), or a `Dataset`, which starts with these two: x (rows, features) and y (rows,), or in place of
        either any pytree of arrays whose first axis is rows. Lists of numbers, however nested, are arrays.
      make_optimizer: called as `make_optimizer(**scalars)` inside the trace; any optax factory.
      scalars: the optimizer's arguments by name, such as {"learning_rate": 0.01, "nesterov": True}. Floats and arrays
        are traced; ints, bools, None, strings and functions are static.
      params: to start from; drawn as `network.init(fold_in(key, 0))` where None.
      order: row numbers of every step, from `row_order`; drawn as `row_order(fold_in(key, 1), …)` where None.
      loss: (scores, labels) -> losses of shape (rows,), or their (weighted) mean; what is minimised.
      epochs: passes over the training rows; a multiple of `evaluate_every`.
      batch_size: rows per step; None for all of them, one step per epoch. What does not fill a batch waits for the
        next epoch's shuffle.
      evaluate_every: epochs between two evaluations of loss and metric. Divergence, patience and target act there.
      validation: like `train`; the training rows where None.
      metric: (scores, labels) -> scalar; what is reported. The loss where None, and then smaller is better.
      greater_is_better: the direction of the metric.
      target: the value of the validation metric to reach.
      patience: stop after this many evaluations without a better validation metric.

    Returns:
      A `Run`.

    Raises:
      ValueError: NaN or infinite rows, zero epochs, a batch larger than the rows, a negative scalar, a traced one that
        decides how the optimizer is built, ...

    >>> from jaxnn import mlp, xor
    >>> network = mlp((2, 8, 1), activation="tanh")
    >>> run = fit(jax.random.key(0), network, xor(), optax.adam, {"learning_rate": 0.1},
    ...           loss=network.loss, epochs=100, evaluate_every=100)
    >>> bool(run.history.loss[-1] < 0.1)
    True
    """
    train, validation = _arrays(train), None if validation is None else _arrays(validation)
    check_run(network, train, validation, scalars, epochs, batch_size, evaluate_every, patience)
    if metric is None:
        metric, greater_is_better = _mean(loss), False
    traced = {name: jnp.asarray(value) for name, value in scalars.items() if isinstance(value, _TRACED)}
    options = frozenset(item for item in scalars.items() if item[0] not in traced)
    static = _Static(
        network, make_optimizer, options, loss, metric, greater_is_better, epochs, batch_size, evaluate_every, patience
    )
    reach = jnp.inf if greater_is_better else -jnp.inf
    target = jnp.asarray(reach if target is None else target, jnp.float32)
    return _fit(static, key, params, order, train, validation, traced, target)


# Whole numbers and truth values are shapes and choices, which have to be known when an optimizer is built.
_TRACED = float | np.floating | np.ndarray | jax.Array


class _Static(NamedTuple):
    network: Any
    make_optimizer: Callable
    options: frozenset  # (name, value) of its static arguments
    loss: Callable
    metric: Callable
    greater_is_better: bool
    epochs: int
    batch_size: int | None
    evaluate_every: int
    patience: int | None


class _Progress(NamedTuple):
    """The state of a run between two evaluations."""

    params: Any
    state: Any
    record: History  # one evaluation
    best_params: Any
    best: jax.Array
    best_step: jax.Array
    target_step: jax.Array
    reached: jax.Array
    diverged: jax.Array
    stale: jax.Array  # evaluations since the best one
    running: jax.Array


@partial(jax.jit, static_argnums=0)
def _fit(static: _Static, key, params, order, train, validation, scalars, target) -> Run:
    network, loss, rows = static.network, static.loss, _count(train)
    optimizer = _optimizer(static, scalars)
    sign = 1 if static.greater_is_better else -1
    draws = getattr(network, "random", "key" in inspect.signature(network.apply).parameters)
    evaluations = static.epochs // static.evaluate_every
    steps = static.evaluate_every * (1 if static.batch_size is None else rows // static.batch_size)

    def evaluate(params, step):
        def measured(rows):
            scores = network.apply(params, rows[0])
            return _mean_loss(loss, scores, rows[1]), _scalar(static.metric(scores, rows[1]))

        on_train = measured(train)
        on_validation = on_train if validation is None else measured(validation)
        return History(step, *on_train, *on_validation)

    def body(progress, xs):
        step, batch = xs
        key_step = jax.random.fold_in(jax.random.fold_in(key, 2), step) if draws else None
        x, y = train if batch is None else jax.tree.map(lambda leaf: leaf[batch], train)
        params, state, _ = train_step(network, loss, optimizer, *progress, x, y, key=key_step)
        return (params, state), None

    def until_evaluation(progress: _Progress, xs):
        evaluation, batches = xs
        step = evaluation * steps

        def train_on(params, state):
            return lax.scan(body, (params, state), (step - steps + jnp.arange(steps), batches))[0]

        # The first evaluation, before any step, is made here as well: so `evaluate` is compiled once.
        params, state = lax.cond(evaluation > 0, train_on, lambda *start: start, progress.params, progress.state)
        record = evaluate(params, step)
        finite = jnp.isfinite(record.loss) & jnp.isfinite(record.validation_loss)
        diverged = progress.diverged | (progress.running & ~finite)
        keep = progress.running & finite
        # A run that has stopped goes on from the same parameters; what becomes of its optimizer does not matter then.
        params, record = _where(keep, (params, record), (progress.params, progress.record))
        value = sign * record.validation_metric
        better = keep & (value > progress.best)
        # Where the metric has not been defined yet, the last parameters are the best that are known.
        unmeasured = keep & jnp.isnan(value) & jnp.isneginf(progress.best)
        stale = jnp.where(better, 0, progress.stale + keep)
        new = _Progress(
            params=params,
            state=state,
            record=record,
            best_params=_where(better | unmeasured, params, progress.best_params),
            best=jnp.where(better, value, progress.best),
            best_step=jnp.where(better | unmeasured, record.step, progress.best_step),
            target_step=jnp.where(progress.reached, progress.target_step, record.step),
            reached=progress.reached | (keep & (value >= sign * target)),
            diverged=diverged,
            stale=stale,
            running=keep if static.patience is None else keep & (stale < static.patience),
        )
        return new, record

    params = network.init(jax.random.fold_in(key, 0)) if params is None else params
    if static.batch_size is not None:
        if order is None:
            order = row_order(jax.random.fold_in(key, 1), rows, static.epochs, static.batch_size)
        order = order.reshape(evaluations, steps, static.batch_size)
        order = jnp.concatenate([order[:1], order])  # the first evaluation comes before any step
    nothing = jax.tree.map(_unmeasured, jax.eval_shape(evaluate, params, jnp.int32(0)))
    start = _Progress(
        params=params,
        state=optimizer.init(params),
        record=nothing,
        best_params=params,
        best=-nothing.validation_metric,
        best_step=nothing.step,
        target_step=nothing.step,
        reached=jnp.bool(False),
        diverged=jnp.bool(False),
        stale=jnp.int32(0),
        running=jnp.bool(True),
    )
    end, history = lax.scan(until_evaluation, start, (jnp.arange(evaluations + 1, dtype=jnp.int32), order))
    return Run(
        params=end.params,
        best_params=end.best_params,
        history=history,
        best_step=end.best_step,
        best_metric=sign * end.best,
        last_step=end.record.step,
        target_step=end.target_step,
        reached=end.reached,
        diverged=end.diverged,
    )


def _optimizer(static, scalars):
    try:
        return static.make_optimizer(**scalars, **dict(static.options))
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            f"the optimizer's form depends on one of {', '.join(scalars)}, which are traced; give it as an int or a "
            "bool, or beforehand, as in functools.partial(optax.sgd, momentum=0.9)"
        ) from error


@partial(jax.jit, static_argnames=("rows", "epochs", "batch_size"))
def row_order(key, rows: int, epochs: int, batch_size: int) -> jax.Array:
    """The row numbers of every step: each epoch is a permutation of the rows, cut into batches.

    What does not fill a batch is left out of its epoch. The epoch e is drawn from `fold_in(key, e)`, all of them before
    training, because a permutation is a sort.

    Args:
      key: a JAX random key.
      rows: number of training rows.
      epochs: number of permutations.
      batch_size: rows per step, at most `rows`.

    Returns:
      (epochs · ⌊rows / batch_size⌋, batch_size) int32.

    >>> row_order(jax.random.key(0), rows=10, epochs=3, batch_size=4).shape
    (6, 4)
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(epochs))
    orders = jax.vmap(lambda k: jax.random.permutation(k, rows))(keys)
    return orders[:, : rows - rows % batch_size].reshape(-1, batch_size)


def _mean_loss(loss, scores, labels):
    """The mean of the losses, which are one for each row or their mean already."""
    losses = loss(scores, labels)
    rows = jax.tree.leaves(labels)[0].shape[:1]
    if jnp.shape(losses) not in (rows, ()):
        raise ValueError(
            f"the loss has shape {jnp.shape(losses)} for scores {jax.tree.map(jnp.shape, scores)} and labels "
            f"{jax.tree.map(jnp.shape, labels)}; expected {rows}, one for each row, or (), their mean: scores (n, 1) "
            "broadcast against labels (n,) unless the loss takes scores[:, 0]"
        )
    return jnp.mean(losses)


def _scalar(metric):
    if jnp.shape(metric) != ():
        raise ValueError(f"the metric has shape {jnp.shape(metric)}; expected (), one number for all rows")
    return metric


def _unmeasured(measure):
    """What stands in a record before the first evaluation: no step, and infinity."""
    return jnp.full(measure.shape, 0 if jnp.issubdtype(measure.dtype, jnp.integer) else jnp.inf, measure.dtype)


def _where(condition, new, old):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


class _mean(NamedTuple):  # a loss as a metric; equal losses make equal metrics, so nothing is compiled twice
    loss: Callable

    def __call__(self, scores, labels):
        return jnp.mean(self.loss(scores, labels))


def _arrays(rows) -> tuple:
    """(x, y) with an array for every leaf; a list of numbers, however nested, is one leaf."""

    def numbers(node):
        return isinstance(node, list | tuple) and all(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(node))

    def array(leaf):
        return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)

    return tuple(jax.tree.map(array, side, is_leaf=numbers) for side in rows[:2])


def _count(rows) -> int:
    return jax.tree.leaves(rows)[0].shape[0]


def check_run(network, train, validation, scalars, epochs, batch_size, evaluate_every, patience=None) -> None:
    """Raise a ValueError for what `fit` cannot train; traced values cannot be looked at. Arguments: those of `fit`."""
    for name, rows in {"train": train, "validation": validation}.items():
        if rows is None:
            continue
        x, y = rows[:2]
        _check_rows(name, x, y)
        if hasattr(network, "check") and not any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((x, y))):
            network.check(x, y)
    for name, value in {
        "epochs": epochs,
        "evaluate_every": evaluate_every,
        "batch_size": batch_size,
        "patience": patience,
    }.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; expected a whole number of at least 1.")
    if epochs % evaluate_every:
        raise ValueError(
            f"epochs={epochs} is no multiple of evaluate_every={evaluate_every}; choose one that divides it."
        )
    rows = _count(train[:2])
    if batch_size is not None and batch_size > rows:
        raise ValueError(f"batch_size={batch_size}, but there are {rows} training rows; pass None for all rows.")
    for name, value in scalars.items():
        if not isinstance(value, _TRACED | Hashable):
            raise ValueError(
                f"{name} is a {type(value).__name__}; expected a number, an array, None, a string or a function: give "
                f"it beforehand, as in functools.partial(optax.adamw, {name}=...)."
            )
        known = isinstance(value, Real | np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)
        if known and jnp.issubdtype(jnp.result_type(value), jnp.number) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"{name}={value}; expected a number of at least 0, as in {{{name!r}: 0.01}}.")


def _check_rows(name, x, y) -> None:
    leaves = {
        side + jax.tree_util.keystr(path): leaf
        for side, tree in {"x": x, "y": y}.items()
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
    lengths = {leaf.shape[:1] for leaf in leaves.values()}
    if len(lengths) != 1 or lengths <= {(), (0,)} or not jax.tree.leaves(x):
        shapes = " and ".join(f"{place} has shape {leaf.shape}" for place, leaf in leaves.items())
        raise ValueError(
            f"{name}: {shapes}; expected x (rows, features) and y (rows,), or any arrays whose first axis is rows: "
            "as many in each, and at least one row."
        )
    for place, leaf in leaves.items():
        if not jnp.issubdtype(leaf.dtype, jnp.number) and leaf.dtype != bool:
            raise ValueError(f"{name}: {place} has dtype {leaf.dtype}; expected numbers: encode or drop what is none.")
        if isinstance(leaf, jax.core.Tracer) or leaf.dtype == bool:
            continue
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            held = jnp.iinfo(jax.dtypes.canonicalize_dtype(leaf.dtype))
            if leaf.min() < held.min or leaf.max() > held.max:
                raise ValueError(
                    f"{name}: {place} holds whole numbers from {leaf.min()} to {leaf.max()}, and JAX has {held.dtype}: "
                    "give them as floating point, scaled"
                )
            continue
        with np.errstate(over="ignore"):  # 1e39 is finite in float64 alone
            finite = np.isfinite(np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype)))
        if not finite.all():
            row = int(np.argwhere(~finite)[0][0])
            raise ValueError(
                f"{name}: row {row} of {place} holds NaN or infinity; expected finite numbers: drop or impute it."
            )
