"""Train every trial of a plan: one compiled program for all groups of one shape, blocks of fixed size, all devices.

A group's trials are cut into blocks of networks that one program trains together (`spread`), each network from its own
key `fold_in(root, seed)`, in an order of rows that all trials of a task share. So a trial depends on its own choices,
its split and its seed alone, not on how the sweep was cut, and `fit` trains it alone: `replay` does. Programs that are
still needed compile in other threads while the present one runs.

Compiling is most of a short sweep, so groups that differ in an elementwise activation of the table share a program: a
block holds one activation, and which one is an argument like its rows. Rows are arguments too, so more splits compile
nothing more. Larger networks of one block share the rows of one split, which makes their first layer one large product;
small ones carry rows of their own, so that a block is full.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.activations import ACTIVATIONS
from jaxnn.activations import get as get_activation
from jaxnn.ensembles import spread
from jaxnn.families import any_of
from jaxnn.lab import store
from jaxnn.lab.devices import available_memory
from jaxnn.lab.folds import Parts, Splits
from jaxnn.lab.machine import versions
from jaxnn.lab.plan import Group, Plan, check_numbers
from jaxnn.lab.programs import compile_ahead
from jaxnn.lab.progress import Progress
from jaxnn.lab.recipe import Built, Recipe, build, resolved
from jaxnn.lab.spelling import spelled, thawed
from jaxnn.metrics import row_values
from jaxnn.networks import Part
from jaxnn.training import Run, check_run, fit, row_order

SMALL = 2_500  # parameters of a network that carries rows of its own
# A group of more multiplications than this (networks · steps · rows · parameters) has a program of its own, because it
# trains so long that being a little faster pays for the compilation; shorter ones share a program.
LONG = 10**13


class Table(NamedTuple):
    """What a sweep leaves: one entry for each trial in every column."""

    columns: dict[str, np.ndarray]  # (trials, ...) each: trial, the static choices, the numbers, what was measured

    def __getitem__(self, name: str) -> np.ndarray:
        """A column by name."""
        return self.columns[name]

    @property
    def size(self) -> int:
        """Number of trials."""
        return len(self.columns["trial"])

    def where(self, **choices) -> "Table":
        """The trials that have the given values.

        >>> table = Table({"trial": np.arange(2), "activation": np.array(["relu", "tanh"])})
        >>> table.where(activation="tanh")["trial"].tolist()
        [1]
        """
        rows = np.all([self.columns[name] == value for name, value in choices.items()], axis=0)
        return self.take(np.flatnonzero(np.broadcast_to(rows, self.size)))

    def take(self, rows) -> "Table":
        """The trials of the given rows."""
        return Table({name: column[rows] for name, column in self.columns.items()})

    def join(self, other: "Table") -> "Table":
        """The trials of both, numbered through; NaN (0, False, "") where only one has a column or is shorter."""
        return _joined([self, other])


def outcome(built: Built, run: Run, parts: Parts) -> dict[str, jax.Array]:
    """What a sweep measures of a run unless told otherwise.

    Loss and metric, on training and validation rows, of the last step and as curves; step and metric of the best
    evaluation; with the parameters of that one, loss and metric on the test rows, the metric's value of each test row,
    and the predicted classes over a plane.

    Args: built, the network with its head and metric; run, of `fit`; parts, the rows of the trial's split.

    Returns:
      Named arrays of any shape.
    """
    history = run.history
    measured = {name: getattr(history, name)[-1] for name in CURVES}
    measured |= {"best_step": run.best_step, "best_validation_metric": run.best_metric}
    measured |= {name: getattr(run, name) for name in ("last_step", "target_step", "reached", "diverged")}
    measured |= {f"curve_{name}": getattr(history, name) for name in ("step", *CURVES)}
    if parts.test is None:  # no rows are held out: the best evaluation is the test
        best = jnp.argmax(history.step == run.best_step)
        measured |= {"test_loss": history.validation_loss[best], "test_metric": history.validation_metric[best]}
    else:
        x, y = parts.test
        scores = built.network.apply(run.best_params, x)
        probabilities = built.head.probabilities(scores)
        measured["test_loss"] = jnp.mean(built.head.loss(scores, y))
        measured["test_metric"] = built.metric.fn(probabilities, y)
        measured["test_rows"] = row_values(built.metric, probabilities, y)
        measured["test_right"] = jnp.argmax(probabilities, axis=-1) == y
    if parts.plane is not None:
        scores = built.network.apply(run.best_params, parts.plane)
        measured["plane"] = jnp.argmax(built.head.probabilities(scores), axis=-1).astype(jnp.int8)
    return measured


CURVES = ("loss", "metric", "validation_loss", "validation_metric")


def sweep(
    plan: Plan,
    tasks: Mapping[str, Splits],
    *,
    measure: Callable[[Built, Run, Parts], Mapping[str, jax.Array]] = outcome,
    seed: int = 0,
    folder: str | Path | None = None,
    block: int | None = None,
    programs: dict | None = None,
    progress: Progress | None = None,
) -> Table:
    """Train every trial of a plan.

    Args:
      plan: from `grid` or `sample`.
      tasks: by the names that the plan uses, the splits of their rows.
      measure: what is kept of a run, computed inside the program: a pure function (built, run, parts) -> named arrays.
      seed: of the root key. It draws the order of the rows, which all trials of a task share; with a trial's own seed
        it draws the weights.
      folder: keeps every finished block, so that the same call after an interruption goes on where it was.
      block: at most so many networks of all splits train together in one program, or a split's part of them where they
        share its rows; rounded up to a multiple of the devices; fewer, where they would not fit the cache. Where None,
        at most as many as there are.
      programs: compiled programs, to be shared between sweeps; filled here.
      progress: tells how far it is; silent where None.

    Returns:
      A `Table`, its rows in the order of the plan.

    Raises:
      ValueError: what cannot be trained, for want of memory too, or a folder that another run holds.
      OSError: the folder cannot be written; blocks finished before are kept.

    >>> from jaxnn.lab import grid, splits, task
    >>> trials = grid(task="xor", activation=["identity", "tanh"], epochs=200, learning_rate=0.05, seed=range(8))
    >>> table = sweep(trials, {"xor": splits(task("xor"))})
    >>> [float(np.mean(table["test_metric"][table["activation"] == name] > 0.6)) for name in ("identity", "tanh")]
    [0.0, 1.0]
    """
    if plan.size == 0:
        raise ValueError("the plan has no trials; expected at least one, as in grid(learning_rate=0.01)")
    if block is not None and block < 1:
        raise ValueError(f"block={block}; expected at least 1 network, or None for what fits the cache")
    run = partial(
        _run, plan, tasks, jax.random.key(seed), measure=measure, block=block, programs=programs,
        progress=progress or Progress(plan.size, "networks"),
    )  # fmt: skip
    if folder is None:
        return run(folder=None)
    with store.exclusive(Path(folder)):
        return run(folder=Path(folder) / "blocks")


def replay(plan: Plan, tasks: Mapping[str, Splits], trial: int, *, seed: int = 0) -> Run:
    """Train one trial of a plan alone, by `fit`: the numbers of the sweep, to rounding and what training makes of it.

    Args:
      plan, tasks, seed: as for `sweep`.
      trial: its number in the plan.

    Returns:
      The `Run` of `fit`, with parameters and history.

    >>> from jaxnn.lab import grid, splits, task
    >>> trials = grid(task="xor", activation="tanh", epochs=200, evaluate_every=100, learning_rate=0.05, seed=range(8))
    >>> replay(trials, {"xor": splits(task("xor"))}, trial=3).history.step.tolist()
    [0, 100, 200]
    """
    task, activation, recipe, numbers = plan.trial(trial)
    splits = _splits_of(task, tasks)
    recipe = resolved(recipe, splits)
    built = build(thawed(activation), recipe, splits.task)
    key = jax.random.fold_in(jax.random.key(seed), numbers.pop("seed"))
    parts = splits.parts(int(numbers.pop("split")))._replace(plane=None)
    scalars = {name: jnp.float32(value) for name, value in numbers.items()}
    order = row_order_of(jax.random.key(seed), splits.train_rows, recipe)
    return _alone(built, recipe, splits.task.classes, key, scalars, order, parts)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _alone(built, recipe, classes, key, scalars, order, parts) -> Run:
    params = built.network.init(jax.random.fold_in(key, 0))
    return train(built, recipe, classes, params, key, scalars, order, parts)


def train(built: Built, recipe: Recipe, classes: int, params, key, scalars, order, parts: Parts) -> Run:
    """`fit` for one trial, as a pure function of arrays.

    Args:
      built, recipe, classes: static; the recipe is resolved.
      params: initial parameters.
      key: the trial's own.
      scalars: of the optimizer by name, and `label_noise`, the share of training rows that get a wrong label.
      order: from `row_order`, or None for all rows in every step.
      parts: the rows.

    Returns:
      A `Run`.
    """
    scalars, rows, validation = dict(scalars), parts.train, parts.validation
    if "label_noise" in scalars:
        noisy = _with_noise(jax.random.fold_in(key, 3), rows[1], scalars.pop("label_noise"), classes)
        rows, validation = (rows[0], noisy), validation or rows
    return fit(
        key, built.network, rows, recipe.make_optimizer, scalars, params=params, order=order, loss=built.head.loss,
        epochs=recipe.epochs, batch_size=None if order is None else recipe.batch_size,
        evaluate_every=recipe.evaluate_every, validation=validation, metric=built.measure,
        greater_is_better=built.metric.greater_is_better, target=recipe.target,
    )  # fmt: skip


def _with_noise(key, y, share, classes):
    """Labels of which a share, drawn at random, is another one."""
    wrong, other = jax.random.split(key)
    shift = jax.random.randint(other, y.shape, 1, classes, y.dtype)
    return jnp.where(jax.random.uniform(wrong, y.shape) < share, (y + shift) % classes, y)


def row_order_of(root, rows: int, recipe: Recipe):
    """The order of the rows that all trials of a task share: which place each step takes; None for all of them."""
    if recipe.batch_size == rows:
        return None
    return row_order(jax.random.fold_in(root, 1), rows, recipe.epochs, recipe.batch_size)


def _splits_of(task, tasks) -> Splits:
    if task not in tasks:
        raise ValueError(f"the plan has the task {task!r}; the tasks are {list(tasks)}")
    return tasks[task]


def _run(plan, tasks, root, measure, block, folder, programs, progress) -> Table:
    order = cache(partial(row_order_of, root))
    jobs = _families([_job(g, _splits_of(g.task, tasks), root, measure, block, folder, order) for g in plan.groups])
    done = [[job.load(rows) for rows in job.blocks] for job in jobs]
    kept = {} if programs is None else programs
    # A program is compiled only for a group with a block that is not there yet.
    missing = {job.key: job for job, found in zip(jobs, done, strict=True) if None in found and job.key not in kept}
    last = {job.key: i for i, job in enumerate(jobs)}
    with closing(compile_ahead(missing.values(), _Job.compile)) as ahead:
        for number, (job, found) in enumerate(zip(jobs, done, strict=True)):
            for i, rows in enumerate(job.blocks):
                if found[i] is not None:
                    progress.advance(len(rows), note="found in the folder", found=True)
                    continue
                if job.key not in kept:
                    progress.say(f"compiling {job.label}")
                    kept[job.key] = next(ahead)[1]
                found[i] = job.run(rows, kept[job.key])
                progress.advance(len(rows), len(rows) * job.steps, f"running {job.label}")
            if programs is None and last[job.key] == number:
                kept.pop(job.key, None)  # thousands of programs are more than the system can hold
    return _joined([job.table(found) for job, found in zip(jobs, done, strict=True)])


def _job(group, splits, root, measure, block, folder, order) -> "_Job":
    recipe = resolved(group.recipe, splits)
    check_numbers(recipe, group.columns)
    last = int(group.columns["split"].max(initial=0))
    if last >= len(splits):
        raise ValueError(f"split {last} of {group.task}; expected 0 to {len(splits) - 1}")
    built = build(thawed(group.activation), recipe, splits.task)
    parts = splits.parts(0)
    check_run(built.network, parts.train, parts.validation, {}, recipe.epochs, recipe.batch_size, recipe.evaluate_every)
    params = jax.eval_shape(built.network.init, jax.random.key(0))
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    own = len(splits) > 1 and weights <= SMALL
    split = group.columns["split"]
    together = [np.arange(len(split))] if own else [np.flatnonzero(split == one) for one in dict.fromkeys(split)]
    # With rows of their own networks fill whatever block was asked for, so that sweeps of other sizes share a program.
    wanted = block if block and own else min(block or group.size, max(map(len, together)))
    most = min(_at_once(built, params, parts, recipe) * jax.local_device_count(), wanted)
    rows = order(splits.train_rows, recipe)
    return _Job(group, splits, recipe, built, root, rows, measure, own, weights, together, (built,), most, folder)


def _families(jobs: list["_Job"]) -> list["_Job"]:
    """Jobs that differ in the activation alone share a program and the size of its blocks."""
    members = {}
    for job in jobs:
        members.setdefault(job.kind, []).append(job)
    return [
        job._replace(
            family=tuple(dict.fromkeys(one.built for one in members[job.kind])),
            most=min(one.most for one in members[job.kind]),
        )
        for job in jobs
    ]


class _Job(NamedTuple):
    """A group with what its blocks need."""

    group: Group
    splits: Splits
    recipe: Recipe
    built: Built
    root: jax.Array
    order: jax.Array | None
    measure: Callable
    own: bool  # does each network carry its own rows?
    weights: int  # parameters of a network
    together: list[np.ndarray]  # which trials of the group could train together: those of one split, or all
    family: tuple[Built, ...]  # those that share the program
    most: int  # networks that a block has at most
    folder: Path | None

    @property
    def label(self) -> str:
        return f"{spelled(self.group.activation)} on {self.group.task}"

    @property
    def steps(self) -> int:
        return self.recipe.steps(self.splits.train_rows)

    @property
    def kind(self):
        """What jobs have in common that could share a program; of one that pays for its own, the network itself."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(self.splits.parts(0)))
        columns = tuple(self.group.columns)
        common = (self.recipe, self.measure, self.splits.task.classes, self.own, shapes, columns)
        products = self.group.size * self.steps * self.recipe.batch_size * self.weights
        params = None if self.recipe.architecture or products > LONG else _params_of(self.group.activation)
        return (*common, self.built if params is None else params)

    @property
    def key(self):
        """What the compiled program depends on."""
        return (*self.kind, self.family, self.block)

    @property
    def block(self) -> int:
        """Networks of a block, the same number on every device."""
        devices = jax.local_device_count()
        return -(-self.most // devices) * devices

    @property
    def blocks(self) -> list[np.ndarray]:
        """Which trials of the group each block trains."""
        size = self.block
        return [rows[start : start + size] for rows in self.together for start in range(0, len(rows), size)]

    def columns(self, rows) -> dict[str, np.ndarray]:
        return {name: column[rows] for name, column in self.group.columns.items()}

    def path(self, rows) -> Path:
        """Where the block is kept, named by all that it depends on."""
        choices = (self.group.task, self.group.activation, self.recipe, self.built, self.measure)
        root = jax.random.key_data(self.root)
        return self.folder / f"{store.digest(choices, self.columns(rows), self.splits.digest, root, versions())}.npz"

    def load(self, rows):
        """The finished block, where there is one."""
        return None if self.folder is None else store.load(self.path(rows), versions())

    def arguments(self, rows):
        """First weights and keys (networks, ...), scalars, which of the family, order, rows.

        The last trial repeats to fill the block.
        """
        columns = self.columns(np.pad(rows, (0, self.block - len(rows)), "edge"))
        keys, init_keys = _keys(self.root, columns.pop("seed"))
        params = jax.vmap(self.built.network.init)(init_keys)
        split = columns.pop("split")
        scalars = {name: column.astype(np.float32) for name, column in columns.items()}
        found = {one: self.splits.parts(one) for one in dict.fromkeys(split.tolist())}
        parts = next(iter(found.values()))
        if self.own:
            parts = jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *(found[one] for one in split.tolist()))
        return params, keys, scalars, np.int32(self.family.index(self.built)), self.order, parts

    def compile(self):
        trained = partial(_measured, self.family, self.recipe, self.splits.task.classes, self.measure)
        program = jax.jit(spread(trained, (-1, -1, -1, None, None, -1 if self.own else None)))
        params, *others = jax.eval_shape(partial(self.arguments, self.blocks[0]))
        params = jax.tree.map(lambda a: jax.ShapeDtypeStruct((*a.shape[1:], self.block), a.dtype), params)
        return program.lower(params, *others).compile()

    def run(self, rows, program) -> dict[str, np.ndarray]:
        """Train a block and keep it; arrays (trials, ...)."""
        params, *others = self.arguments(rows)
        # Moved and cut for the devices by numpy, which compiles nothing.
        params = jax.tree.map(lambda a: np.moveaxis(np.asarray(a), 0, -1), params)
        arguments = jax.block_until_ready((params, *others))
        begin = time.perf_counter()
        outputs = jax.block_until_ready(program(*arguments))
        seconds = (time.perf_counter() - begin) / self.block
        arrays = {name: np.moveaxis(np.asarray(a), -1, 0)[: len(rows)] for name, a in outputs.items()}
        arrays["seconds"] = np.full(len(rows), seconds, np.float32)
        if self.folder is not None:
            store.save(self.path(rows), arrays, versions())
        return arrays

    def table(self, done) -> Table:
        """The trials of the group, in its order."""
        place = np.argsort(np.concatenate(self.blocks))
        columns = {"trial": np.arange(self.group.size)}
        static = {"task": self.group.task, "activation": spelled(self.group.activation), "head": self.built.head.name}
        static |= {name: self.recipe.label(name) for name in ("hidden", "init", "optimizer", "batch_size")}
        columns |= {name: np.full(self.group.size, value) for name, value in static.items()}
        columns |= self.group.columns
        measured = {name: np.concatenate([arrays[name] for arrays in done])[place] for name in done[0]}
        return Table(columns | measured)


def _measured(family, recipe, classes, measure, params, key, scalars, which, order, parts):
    """What a program computes of a trial."""
    built = family[0] if len(family) == 1 else _any_of(family, which)
    return dict(measure(built, train(built, recipe, classes, params, key, scalars, order, parts), parts))


def _any_of(family, which) -> Built:
    """The `which`-th of several networks that differ in the activation alone."""
    layers = zip(*(built.network.layers for built in family), strict=True)
    records = ([part.activation for (part,) in layer] for layer in layers)
    units = (part.units for (part,) in family[0].network.layers)
    parts = tuple((Part(any_of(several, which), n),) for several, n in zip(records, units, strict=True))
    return family[0]._replace(network=replace(family[0].network, layers=parts))


def _params_of(activation) -> int | None:
    """How many trainable parameters an activation has; None of one that cannot share a program.

    A function of one's own need not be elementwise.
    """
    record = None if isinstance(activation, tuple) else get_activation(activation)
    if record is None or ACTIVATIONS.get(record.name) is not record:
        return None
    return None if record.random or (record.inputs, record.outputs) != (1, 1) else len(record.params)


@jax.jit
def _keys(root, seeds):
    """Of every trial: its own key, and that of its first weights."""
    keys = jax.vmap(partial(jax.random.fold_in, root))(seeds)
    return keys, jax.vmap(partial(jax.random.fold_in, data=0))(keys)


def _at_once(built, params, parts, recipe) -> int:
    """Networks of a device, a power of two: so many that a step stays in a CPU's cache or keeps a GPU busy.

    Raises ValueError where a single one would not fit the memory.
    """
    cpu = jax.default_backend() == "cpu"
    floats_at_once, most = (2**20, 8) if cpu else (2**26, 17)
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct((recipe.batch_size, *a.shape[1:]), np.float32), parts.train[0])
    forward = jax.make_jaxpr(built.network.apply)(params, x).jaxpr
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    floats = 4 * weights + 2 * sum(v.aval.size for eqn in forward.eqns for v in eqn.outvars)
    need, there = 8 * 4 * weights * jax.local_device_count(), available_memory()
    if cpu and there is not None and need > there:
        raise ValueError(
            f"a network of {weights:,} parameters needs about {need / 2**30:.1f} GiB to train on "
            f"{jax.local_device_count()} devices, and {there / 2**30:.1f} GiB are free; take fewer hidden units"
        )
    return 2 ** int(np.clip(np.log2(floats_at_once / floats), 0, most))


def _joined(tables) -> Table:
    """Tables one below the other, numbered through."""
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {}
    for name in names:
        shape = np.max([t[name].shape[1:] for t in tables if name in t.columns], axis=0).astype(int)
        kind = np.result_type(*(t[name] for t in tables if name in t.columns))
        ragged = any(name not in t.columns or t[name].shape[1:] != tuple(shape) for t in tables)
        kind = np.result_type(kind, np.float32) if ragged and kind.kind in "if" else kind
        empty = np.nan if kind.kind == "f" else np.zeros((), kind)
        whole = np.full((sum(t.size for t in tables), *shape), empty, kind)
        start = 0
        for t in tables:
            if name in t.columns:
                whole[(slice(start, start + t.size), *map(slice, t[name].shape[1:]))] = t[name]
            start += t.size
        columns[name] = whole
    columns["trial"] = np.arange(len(columns["trial"]))
    return Table(columns)
