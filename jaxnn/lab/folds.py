"""Which rows train, validate and test: folds, several times over; everything that is learnt from rows, anew in each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import data
from jaxnn.lab import store
from jaxnn.lab.tasks import Task

FOLDS = 5
POINTS = 60  # of the grid over a plane, in each direction


class Parts(NamedTuple):
    """The rows of one split, scaled: (x, y) each; None where the training rows are all there is."""

    train: tuple[Any, Any]
    validation: tuple[Any, Any] | None
    test: tuple[Any, Any] | None
    plane: Any = None  # (POINTS², 2), a grid over a task in the plane; None elsewhere


@dataclass(frozen=True, eq=False)
class Splits:
    """Row numbers of every split, all splits with the same shapes: what is compiled for one serves all."""

    task: Task
    train: np.ndarray  # (splits, rows) numbers of rows of the task
    validation: np.ndarray | None  # None for a truth table
    test: np.ndarray | None  # numbers in the rows that were brought along, where there are some

    def __len__(self) -> int:
        return len(self.train)

    def take(self, numbers) -> "Splits":
        """Some of the splits."""
        parts = (None if part is None else part[list(numbers)] for part in (self.train, self.validation, self.test))
        return Splits(self.task, *parts)

    @property
    def train_rows(self) -> int:
        """Training rows of each split."""
        return self.train.shape[1]

    def parts(self, split: int) -> Parts:
        """The rows of a split, scaled by what its training rows say."""
        task, train = self.task, self.train[split]
        plane = _grid(task)
        if self.validation is None:
            return Parts((_rows(task.x, train), task.y[train]), None, None, plane)
        test = task.test or (task.x, task.y)
        scale = scaling(_rows(task.x, train))

        def part(x, y, rows):
            return scale(_rows(x, rows)), y[rows]

        return Parts(
            part(task.x, task.y, train),
            part(task.x, task.y, self.validation[split]),
            part(*test, self.test[split]),
            None if plane is None else scale(plane),
        )

    @property
    def axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """From where to where the grid of a task in the plane reaches, a tenth wider than its rows."""
        low, high = self.task.x.min(0), self.task.x.max(0)
        edge = 0.1 * (high - low)
        return tuple((float(a), float(b)) for a, b in zip(low - edge, high + edge, strict=True))

    @cached_property
    def digest(self) -> str:
        """A short name for the rows of all splits."""
        return store.digest(self.task.digest, self.train, self.validation, self.test)


def splits(task: Task, *, repeats: int = 2, seed: int = 0) -> Splits:
    """Stratified folds, `repeats` times: one fold tests, the next validates, the other three train.

    The rows of each class, in random order, are dealt out to the folds in turn, so every fold has each class in
    proportion. All folds hold ⌊rows/5⌋; up to four rows that do not divide stay in training, others in each repeat. A
    truth table has one split, in which all rows are everything. Test rows that were brought along are those of every
    split; one fold validates, the other four train.

    Args: task; repeats, so often five folds; seed of the dealing.

    Returns:
      `Splits`, 5 · repeats of them.

    Raises:
      ValueError: fewer rows than folds, or no repeat.

    >>> from jaxnn.lab.tasks import task
    >>> found = splits(task("iris"))
    >>> len(found), found.train.shape, found.validation.shape, found.test.shape
    (10, (10, 90), (10, 30), (10, 30))

    Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}; expected at least 1")
    if task.truth_table:
        return Splits(task, np.arange(task.rows)[None], None, None)
    if task.rows < 2 * FOLDS:
        raise ValueError(f"{task.name} has {task.rows} rows; expected at least {2 * FOLDS}, two for each fold")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(jax.random.key(seed), 2))))
    train, validation, test = [], [], []
    for _ in range(repeats):
        folds = _folds(task, rng)
        for fold in range(FOLDS):
            held = [folds[(fold + 1) % FOLDS]]
            if task.test is None:
                test.append(folds[fold])
                held.append(folds[fold])
            else:
                test.append(np.arange(len(task.test[1])))
            validation.append(held[0])
            train.append(rng.permutation(np.setdiff1d(np.arange(task.rows), np.concatenate(held))))
    return Splits(task, *(np.stack(part).astype(np.int32) for part in (train, validation, test)))


def stack(several: Sequence[Splits]) -> Splits:
    """The splits of several tables of the same shapes as those of one: more tables compile nothing more.

    Args: several, of tables with the same classes, none of them with test rows that were brought along.

    >>> from jaxnn.lab.tasks import task
    >>> found = stack([splits(task("moons", seed=seed), repeats=1) for seed in range(3)])
    >>> len(found), found.task.rows
    (15, 1500)
    """
    starts = np.cumsum([0, *(one.task.rows for one in several[:-1])])
    x = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(one.task.x for one in several))
    task = replace(several[0].task, x=x, y=np.concatenate([one.task.y for one in several]))

    def moved(name):
        return np.concatenate([getattr(one, name) + start for one, start in zip(several, starts, strict=True)])

    return Splits(task, moved("train"), moved("validation"), moved("test"))


def _folds(task, rng) -> list[np.ndarray]:
    """Five folds of ⌊rows/5⌋ row numbers each, every class in proportion."""
    order = rng.permutation(task.rows)
    turn = rng.permutation(task.classes)[task.y[order]]
    order = order[np.argsort(turn, kind="stable")]
    return [rng.permutation(order[fold::FOLDS])[: task.rows // FOLDS] for fold in range(FOLDS)]


def scaling(x):
    """Each column to mean 0 and standard deviation 1, as these rows say; whole numbers are codes, and stay.

    Args: x, (rows, features) or a pytree of arrays with rows first. Returns a function of such rows.

    >>> scaling(np.array([[1.0], [3.0]]))(np.array([[5.0]])).tolist()
    [[3.0]]
    """
    return Scaled(jax.tree.map(lambda leaf: data.fit_scaling(leaf) if leaf.dtype.kind == "f" else None, x))


class Scaled(NamedTuple):
    """The scaling of every array of the rows; None for codes."""

    scales: Any

    def __call__(self, rows):
        """Rows as they come, scaled."""
        return jax.tree.map(lambda leaf, one: leaf if one is None else one(leaf), rows, self.scales)


def _rows(x, rows):
    return jax.tree.map(lambda leaf: leaf[rows], x)


def _grid(task):
    """The points of a grid over a task in the plane, row by row from below."""
    if getattr(task.x, "ndim", 0) != 2 or task.x.shape[1] != 2:
        return None
    axes = Splits(task, np.empty((0, 0)), None, None).axes
    across, up = (np.linspace(*ends, POINTS, dtype=np.float32) for ends in axes)
    return np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
