"""Train every trial of a plan: one compiled program for each group, blocks of fixed shape, all devices.

A group's trials are cut into blocks of networks that one program trains together (`spread`), each network from its own
key `fold_in(root, seed)`, all on the same rows in the same order. So a trial depends on its own choices and its seed
alone, not on how the sweep was cut, and `fit` trains it alone: `replay` does. Programs of the next groups compile in
other threads while the present one runs.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import metrics, store
from jaxnn.devices import compile_ahead, versions
from jaxnn.ensemble import spread
from jaxnn.heads import Head
from jaxnn.plan import Choices, Group, Plan, Problem, check
from jaxnn.progress import Progress
from jaxnn.training import Run, fit, row_order


class Outcome(NamedTuple):
    """What a sweep keeps of a run. Loss and metric are those of the last step, on the training rows."""

    loss: np.ndarray
    metric: np.ndarray
    validation_loss: np.ndarray
    validation_metric: np.ndarray
    best_step: np.ndarray  # of the best evaluation on the validation rows
    best_validation_metric: np.ndarray
    test_loss: np.ndarray  # with the parameters of the best step
    test_metric: np.ndarray
    last_step: np.ndarray
    target_step: np.ndarray
    reached: np.ndarray
    diverged: np.ndarray


CURVES = ("loss", "metric", "validation_loss", "validation_metric")


class SweepResult(NamedTuple):
    """A table with one row for each trial, and the learning curves."""

    table: dict[str, np.ndarray]  # (trials,) each: trial, the static choices, the numbers, `Outcome`, seconds
    curves: dict[str, np.ndarray]  # of CURVES, (trials, evaluations), NaN where the task has fewer evaluations
    steps: dict[str, np.ndarray]  # task -> (evaluations,), the steps of its evaluations (of its last group)

    def where(self, **choices) -> "SweepResult":
        """The trials that have the given values.

        >>> table = {"activation": np.array(["relu", "tanh"]), "loss": np.array([0.1, 0.2])}
        >>> SweepResult(table, {}, {}).where(activation="tanh").table["loss"].tolist()
        [0.2]
        """
        rows = np.all([self.table[name] == value for name, value in choices.items()], axis=0)
        return self.take(np.flatnonzero(np.broadcast_to(rows, len(next(iter(self.table.values()))))))

    def join(self, other: "SweepResult") -> "SweepResult":
        """The trials of both, of sweeps with the same columns."""
        table = {name: np.concatenate([column, other.table[name]]) for name, column in self.table.items()}
        table["trial"] = np.arange(len(table["trial"]))
        length = max((curve.shape[1] for result in (self, other) for curve in result.curves.values()), default=0)
        curves = {
            name: np.concatenate([_padded(curve, length), _padded(other.curves[name], length)])
            for name, curve in self.curves.items()
        }
        return SweepResult(table, curves, self.steps | other.steps)

    def take(self, rows) -> "SweepResult":
        """The trials of the given rows."""
        return SweepResult(
            {name: column[rows] for name, column in self.table.items()},
            {name: curve[rows] for name, curve in self.curves.items()},
            self.steps,
        )


def sweep(
    trials: Plan,
    problems: Mapping[str, Problem],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    block: int | Mapping[str, int] | None = None,
    curves: bool = True,
    programs: dict | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Train every trial of a plan.

    Args:
      trials: from `grid` or `sample`.
      problems: by the task names that the plan uses.
      seed: of the root key. It draws the order of the rows, which all trials of a task share; with a trial's own seed
        it draws the weights.
      folder: keeps every finished block, so that the same call after an interruption goes on where it was.
      block: so many networks train together in one program, of all tasks or by task, rounded up to a multiple of the
        devices; fewer, where they would not fit the cache. Where None, at most as many as the group has.
      curves: keep the learning curves in the result (in the folder they are kept anyway).
      programs: compiled programs by group, to be shared between sweeps; filled here.
      progress: tells how far it is; silent where None.

    Returns:
      A `SweepResult`, its rows in the order of the plan.

    Raises:
      ValueError: what cannot be trained, or a folder that another run holds.
      OSError: the folder cannot be written; blocks finished before are kept.

    >>> from jaxnn import Split, grid, xor
    >>> rows = xor()
    >>> problem = Problem(Split(rows, rows, rows), epochs=200, evaluate_every=100, metric="least_probability")
    >>> trials = grid(task="xor", activation=["identity", "tanh"], learning_rate=0.05, seed=range(8))
    >>> table = sweep(trials, {"xor": problem}).table
    >>> [float(np.mean(table["test_metric"][table["activation"] == name] > 0.6)) for name in ("identity", "tanh")]
    [0.0, 1.0]
    """
    check(trials, problems)
    for most in block.values() if isinstance(block, Mapping) else (block,):
        if most is not None and most < 1:
            raise ValueError(f"block={most}; expected at least 1 network, or None for what fits the cache")
    progress = progress or Progress(trials.size, "networks")
    run = partial(
        _run, trials, problems, jax.random.key(seed), block=block, curves=curves, programs=programs, progress=progress
    )
    if folder is None:
        return run(folder=None)
    with store.exclusive(Path(folder)):
        return run(folder=Path(folder) / "blocks")


def replay(trials: Plan, problems: Mapping[str, Problem], trial: int, *, seed: int = 0) -> Run:
    """Train one trial of a plan alone, by `fit`: the numbers of the sweep, to rounding and what training makes of it.

    Args:
      trials, problems, seed: as for `sweep`.
      trial: its number in the plan.

    Returns:
      The `Run` of `fit`, with parameters and history.

    >>> from jaxnn import Split, grid, xor
    >>> rows = xor()
    >>> problems = {"xor": Problem(Split(rows, rows, rows), epochs=200, evaluate_every=100)}
    >>> run = replay(grid(task="xor", activation="tanh", learning_rate=0.05, seed=range(8)), problems, trial=3)
    >>> run.history.step.tolist()
    [0, 100, 200]
    """
    choices, numbers = trials.trial(trial)
    problem = choices.problem(problems)
    arguments = trial_arguments(choices, problem, numbers, jax.random.key(seed))
    return jax.jit(partial(run_trial, choices, problem))(*arguments)


def trial_arguments(choices: Choices, problem: Problem, numbers: Mapping[str, float], root):
    """The arguments of `run_trial` after the static ones.

    Args: choices, problem; numbers, the trial's seed and scalars by name; root, the sweep's key.
    """
    scalars = {name: jnp.float32(value) for name, value in numbers.items() if name != "seed"}
    key = jax.random.fold_in(root, numbers["seed"])
    params = choices.build(problem)[0].init(jax.random.fold_in(key, 0))
    return params, key, scalars, _order(root, problem), _rows(problem)


def run_trial(choices: Choices, problem: Problem, params, key, scalars, order, rows) -> Run:
    """`fit` for one trial, as a pure function of arrays.

    Args:
      choices: the static choices.
      problem: for how long, and by which measure.
      params: initial parameters.
      key: the trial's own.
      scalars: of the optimizer by name, and `label_noise`, the share of training rows that get a wrong label.
      order: from `row_order`, or None for all rows in every step.
      rows: (x, y) of training, validation and test rows, or of the training rows alone.

    Returns:
      A `Run`.
    """
    network, head = choices.build(problem)
    metric = metrics.get(problem.metric)
    scalars, train, validation = dict(scalars), rows[0], rows[1] if len(rows) > 1 else None
    if "label_noise" in scalars:
        noisy = _with_noise(
            jax.random.fold_in(key, 3), train[1], scalars.pop("label_noise"), problem.data.train.classes
        )
        train, validation = (train[0], noisy), validation or train
    return fit(
        key, network, train, choices.make_optimizer, scalars, params=params, order=order, loss=head.loss,
        epochs=problem.epochs, batch_size=problem.batch_size, evaluate_every=problem.evaluate_every,
        validation=validation,
        metric=lambda scores, labels: metric.fn(head.probabilities(scores), labels),
        greater_is_better=metric.greater_is_better, target=problem.target,
    )  # fmt: skip


def _with_noise(key, y, share, classes):
    """Labels of which a share, drawn at random, is another one."""
    wrong, other = jax.random.split(key)
    shift = jax.random.randint(other, y.shape, 1, classes, y.dtype)
    return jnp.where(jax.random.uniform(wrong, y.shape) < share, (y + shift) % classes, y)


def _trained(choices: Choices, problem: Problem, params, key, scalars, order, rows):
    """What a program computes of a trial: its `Run` without parameters; loss and metric of the test rows, if any."""
    run = run_trial(choices, problem, params, key, scalars, order, rows)
    test = None
    if not problem.exhaustive:
        (network, head), (x, y) = choices.build(problem), rows[-1]
        scores = network.apply(run.best_params, x)
        test = jnp.mean(head.loss(scores, y)), metrics.get(problem.metric).fn(head.probabilities(scores), y)
    return run._replace(params=None, best_params=None), test


def _kept(run: Run, test) -> dict[str, np.ndarray]:
    """What a block keeps of its trials, by name: the fields of `Outcome`, and the curves; all arrays (trials, ...)."""
    history = run.history
    if test is None:  # no rows are held out: the best evaluation is the test
        best = np.argmax(history.step == run.best_step[:, None], axis=1)[:, None]
        curves = history.validation_loss, history.validation_metric
        test = (np.take_along_axis(curve, best, axis=1)[:, 0] for curve in curves)
    curves = {name: getattr(history, name) for name in CURVES}
    outcome = Outcome(
        *(curve[:, -1] for curve in curves.values()),
        run.best_step,
        run.best_metric,
        *test,
        run.last_step,
        run.target_step,
        run.reached,
        run.diverged,
    )
    return outcome._asdict() | {f"curve_{name}": curve for name, curve in curves.items()}


def _run(trials, problems, root, folder, block, curves, programs, progress) -> SweepResult:
    block = block if isinstance(block, Mapping) else dict.fromkeys(problems, block)
    order = cache(partial(_order_of, root))
    jobs = []
    for group in trials.groups:
        problem, task = group.choices.problem(problems), group.choices.task
        rows = order(len(problem.data.train.y), problem.epochs, problem.batch_size)
        jobs.append(_Job(group, problem, root, rows, _block_size(group, problem, block.get(task)), folder))
    blocks = [[job.load(start, curves) for start in job.starts] for job in jobs]
    # A program is compiled only for a group with a block that is not there yet.
    missing = {
        job.key: job
        for job, found in zip(jobs, blocks, strict=True)
        if None in found and job.key not in (programs or {})
    }
    kept = {} if programs is None else programs
    last = {job.key: i for i, job in enumerate(jobs)}
    with closing(compile_ahead(missing.values(), _Job.compile)) as ahead:
        for number, (job, found) in enumerate(zip(jobs, blocks, strict=True)):
            for i, start in enumerate(job.starts):
                if found[i] is not None:
                    progress.advance(job.count(start), note="found in the folder", found=True)
                    continue
                if job.key not in kept:
                    progress.say(f"compiling {job.label}")
                    kept[job.key] = next(ahead)[1]
                found[i] = job.run(start, kept[job.key], curves)
                progress.advance(job.count(start), job.count(start) * job.problem.steps, f"running {job.label}")
            if programs is None and last[job.key] == number:
                kept.pop(job.key, None)  # thousands of programs are more than the system can hold
    return _result(jobs, blocks, curves)


class _Job(NamedTuple):
    """A group with what its blocks need."""

    group: Group
    problem: Problem
    root: jax.Array
    order: jax.Array | None
    block: int  # networks of a block
    folder: Path | None

    @property
    def label(self) -> str:
        return f"{self.group.choices.label('activation')} on {self.group.choices.task}"

    @property
    def head(self) -> Head:
        return self.group.choices.build(self.problem)[1]

    @property
    def key(self):
        """What the compiled program depends on."""
        shapes = tuple(part.x.shape for part in self.problem.data)
        data = (self.problem.data.train.classes, self.problem.exhaustive, shapes)
        return self.group.choices, tuple(self.group.columns), self.block, self.problem[1:], data

    @property
    def starts(self) -> range:
        return range(0, self.group.size, self.block)

    def count(self, start) -> int:
        """Trials of the block, without those that fill it up."""
        return min(self.block, self.group.size - start)

    def columns(self, start) -> dict[str, np.ndarray]:
        return {name: column[start : start + self.block] for name, column in self.group.columns.items()}

    def path(self, start) -> Path:
        """Where the block is kept, named by all that it depends on."""
        data = [(part.x, part.y, part.classes) for part in self.problem.data]
        root = jax.random.key_data(self.root)
        name = store.digest(self.group.choices, self.columns(start), data, self.problem[1:], root, versions())
        return self.folder / f"{name}.npz"

    def load(self, start, curves):
        """The finished block, where there is one."""
        arrays = None if self.folder is None else store.load(self.path(start), versions())
        return arrays if arrays is None or curves else _without_curves(arrays)

    def drawn(self, start):
        """What is the block's own: first weights (trials, ...), keys, scalars; the last trial repeats to fill it up."""
        columns = {name: np.pad(c, (0, self.block - len(c)), "edge") for name, c in self.columns(start).items()}
        keys, init_keys = _keys(self.root, columns.pop("seed"))
        params = jax.vmap(self.group.choices.build(self.problem)[0].init)(init_keys)
        return params, keys, {name: column.astype(np.float32) for name, column in columns.items()}

    def compile(self):
        program = jax.jit(spread(partial(_trained, self.group.choices, self.problem), (-1, -1, -1, None, None)))
        params, *others = jax.eval_shape(partial(self.drawn, 0))
        params = jax.tree.map(lambda a: jax.ShapeDtypeStruct((*a.shape[1:], self.block), a.dtype), params)
        return program.lower(params, *others, self.order, _rows(self.problem)).compile()

    def run(self, start, program, curves) -> dict[str, np.ndarray]:
        """Train a block and keep it; arrays (trials, ...)."""
        params, *others = self.drawn(start)
        # Moved and cut for the devices by numpy, which compiles nothing.
        params = jax.tree.map(lambda a: np.moveaxis(np.asarray(a), 0, -1), params)
        arguments = jax.block_until_ready((params, *others, self.order, _rows(self.problem)))
        begin = time.perf_counter()
        outputs = jax.block_until_ready(program(*arguments))
        seconds = (time.perf_counter() - begin) / self.block
        arrays = _kept(*jax.tree.map(lambda a: np.asarray(a).T[: self.count(start)], outputs))
        arrays["seconds"] = np.full(self.count(start), seconds, np.float32)
        if self.folder is not None:
            store.save(self.path(start), arrays, versions())
        return arrays if curves else _without_curves(arrays)


@jax.jit
def _keys(root, seeds):
    """Of every trial: its own key, and that of its first weights."""
    keys = jax.vmap(partial(jax.random.fold_in, root))(seeds)
    return keys, jax.vmap(partial(jax.random.fold_in, data=0))(keys)


def _without_curves(arrays):
    return {name: a for name, a in arrays.items() if not name.startswith("curve_")}


def _result(jobs, blocks, curves) -> SweepResult:
    """The blocks as one table."""
    table = {"trial": np.arange(sum(job.group.size for job in jobs))}
    for field in Choices._fields[:-1]:
        labels = [job.head.name if field == "head" else job.group.choices.label(field) for job in jobs]
        table[field] = np.repeat(labels, [job.group.size for job in jobs])
    for name in dict.fromkeys(name for job in jobs for name in job.group.columns):
        columns = [job.group.columns.get(name, np.full(job.group.size, np.nan, np.float32)) for job in jobs]
        table[name] = np.concatenate(columns)
    flat = [arrays for found in blocks for arrays in found]
    for name in (*Outcome._fields, "seconds"):
        table[name] = np.concatenate([arrays[name] for arrays in flat])
    longest = max(job.problem.epochs // job.problem.evaluate_every + 1 for job in jobs)
    lines = {name: np.concatenate([_padded(a[f"curve_{name}"], longest) for a in flat]) for name in CURVES if curves}
    steps = {
        job.group.choices.task: np.linspace(
            0, job.problem.steps, job.problem.epochs // job.problem.evaluate_every + 1, dtype=int
        )
        for job in jobs
    }
    return SweepResult(table, lines, steps)


def _padded(curves, length):
    return np.pad(curves, ((0, 0), (0, length - curves.shape[1])), constant_values=np.nan)


def _rows(problem: Problem):
    """(x, y) of the training, validation and test rows; of a truth table once."""
    rows = tuple((jnp.asarray(part.x), jnp.asarray(part.y)) for part in problem.data)
    return rows[:1] if problem.exhaustive else rows


def _order(root, problem: Problem):
    """The order of the rows that all trials of the task share."""
    return _order_of(root, len(problem.data.train.y), problem.epochs, problem.batch_size)


def _order_of(root, rows, epochs, batch_size):
    return None if batch_size is None else row_order(jax.random.fold_in(root, 1), rows, epochs, batch_size)


def _block_size(group: Group, problem: Problem, requested: int | None) -> int:
    """Networks of a block, the same number on every device."""
    devices = jax.local_device_count()
    most = _networks_per_device(group.choices.build(problem)[0], problem) * devices
    return -(-min(most, requested or group.size) // devices) * devices


def _networks_per_device(network, problem: Problem) -> int:
    """A power of two: so many that a step stays in a CPU's cache or keeps a GPU busy; of wide networks a single one."""
    floats_at_once, most = (2**20, 8) if jax.default_backend() == "cpu" else (2**26, 17)
    params = jax.eval_shape(network.init, jax.random.key(0))
    rows, features = problem.data.train.x.shape
    x = jax.ShapeDtypeStruct((problem.batch_size or rows, features), jnp.float32)
    forward = jax.make_jaxpr(network.apply)(params, x).jaxpr
    floats = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    floats += 2 * sum(v.aval.size for eqn in forward.eqns for v in eqn.outvars)
    return 2 ** int(np.clip(np.log2(floats_at_once / floats), 0, most))
