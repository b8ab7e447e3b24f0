"""A task: what is to be learned. Rows, their classes, and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn import data
from jaxnn.lab import store


@dataclass(frozen=True, eq=False)
class Task:
    """Rows with their classes."""

    name: str
    x: Any = field(repr=False)  # (rows, features), or any pytree of arrays whose first axis is rows
    y: np.ndarray = field(repr=False)  # (rows,) int32, in 0 … classes − 1
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] = ()
    source: str = ""
    truth_table: bool = False  # the rows are all there is, so that none can be held out
    test: tuple[Any, np.ndarray] | None = field(default=None, repr=False)  # (x, y): test rows that were brought along
    labels: np.ndarray | None = None  # (classes,) numbers or truth values that stood for the classes; None: their names

    @property
    def rows(self) -> int:
        """Number of rows, without test rows that were brought along."""
        return len(self.y)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def features(self) -> int:
        """Numbers in a row: columns of a table, pixels of an image."""
        return sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(self.x))

    @cached_property
    def digest(self) -> str:
        """A short name for the rows, the same for equal rows."""
        return store.digest(*jax.tree.leaves((self.x, self.y, self.test)), self.classes, self.truth_table)


def task(what, *, label: str | None = None, test: tuple | None = None, name: str | None = None, seed: int = 0) -> Task:
    """A task from whatever holds rows.

    Args:
      what: a name of `jaxnn.DATASETS`, a CSV file of numbers, (x, y), or a `Task`. x is (rows, features), or any pytree
        of arrays whose first axis is rows; y (rows,) holds labels of any kind.
      label: the column of a file that holds the classes.
      test: (x, y), rows to test on; the answer is then about those rows only.
      name: of the task; that of the data where None.
      seed: of rows that are drawn.

    Returns:
      A `Task`.

    Raises:
      ValueError: an unknown name, a file without its label, rows that are not finite or fewer than two classes.

    >>> task("iris").rows, task(([[0.0], [1.0]], ["no", "yes"])).class_names
    (150, ('no', 'yes'))
    """
    if isinstance(what, Task):
        found = what
    elif isinstance(what, str | Path):
        found = _named(what, label, seed)
    else:
        found = _rows(what)
    if test is not None:
        found = replace(found, test=_test_rows(found, test))
    if name is not None:
        found = replace(found, name=name)
    _check(found)
    return found


def tasks(what, **options) -> dict[str, Task]:
    """Tasks by name, from what `task` takes, or a list or mapping of such.

    >>> list(tasks(["iris", "xor"]))
    ['iris', 'xor']
    """
    if isinstance(what, Mapping):
        found = [task(one, name=name, **options) for name, one in what.items()]
    elif isinstance(what, list) and not _is_table(what):
        found = [task(one, **options) for one in what]
    else:
        found = [task(what, **options)]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tasks have the name {name!r}; give names, as in compare({{'a': ..., 'b': ...}})")
    if not found:
        raise ValueError("no task; expected at least one, as in compare('digits')")
    return dict(zip(names, found, strict=True))


def _is_table(what) -> bool:
    """Is a list a pair of x and y, and not a list of tasks?"""
    return len(what) == 2 and not any(isinstance(one, str | Path | Task | tuple) for one in what)


def _named(what, label, seed) -> Task:
    path = Path(what)
    if path.suffix == ".csv" or path.is_file():
        if label is None:
            raise ValueError(f"{what}: which column holds the classes? name it, as in label='kind' (--label kind)")
        found, source, truth_table = data.load_csv(path, label), str(what), False
    else:
        entry = data.get_dataset(str(what))
        found = entry.load(jax.random.fold_in(jax.random.key(seed), 1))
        source, truth_table = entry.about, entry.exhaustive
    return Task(found.name, found.x, found.y, found.class_names, found.feature_names, source, truth_table)


def _rows(what) -> Task:
    try:
        x, y = what
    except (TypeError, ValueError):
        raise ValueError(
            f"a task of type {type(what).__name__}; expected a name, a CSV file, (x, y) or a Task: compare((x, y))"
        ) from None
    y = np.asarray(y)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y has shape {y.shape}; expected (rows,), a label for each row")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ValueError(f"y[{row}] is {y[row]}; expected a label: drop the row")
    names, codes = np.unique(y, return_inverse=True)
    if y.dtype.kind == "f" and len(names) > max(20, len(y) / 2):
        raise ValueError(
            f"y has {len(names)} values in {len(y)} rows; expected classes with several rows each: is it a number to "
            "predict?"
        )
    labels = names if names.dtype.kind in "biuf" else None
    return Task("rows", _arrays(x), codes.astype(np.int32), tuple(map(str, names)), _column_names(x), labels=labels)


def rows_like(task: Task, x) -> Any:
    """New rows of a task, checked: x, whatever its rows were given as, (rows, features) or a pytree.

    Columns with the task's names are put in its order.

    Raises ValueError for other shapes or columns, and for what is not finite.

    >>> rows_like(task("iris"), [[5.1, 3.5, 1.4, 0.2]]).shape
    (1, 4)
    """
    columns = {str(column): column for column in getattr(x, "columns", ())}
    if columns.keys() & set(task.feature_names):
        for name in task.feature_names:
            if name not in columns:
                raise ValueError(f"x has no column {name!r}; expected {', '.join(task.feature_names)}")
        x = x[[columns[name] for name in task.feature_names]]
    x = _arrays(x)
    shapes = [jax.tree.map(lambda leaf: leaf.shape[1:], one) for one in (x, task.x)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"x has rows of shape {shapes[0]}; expected {shapes[1]}, as in {task.name}")
    if not all(np.isfinite(leaf.astype(np.float64)).all() for leaf in jax.tree.leaves(x)):
        raise ValueError("x holds NaN or infinite values; expected finite numbers: drop or fill these rows")
    return x


def _arrays(x):
    """A table as float64 (rows, features), of which `splits` learns the scale; anything else as arrays."""
    x = np.asarray(x) if isinstance(x, list) or hasattr(x, "to_numpy") else x
    if hasattr(x, "ndim") and x.ndim == 2:
        try:
            return np.asarray(x, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x holds what is no number ({error}); encode or drop it") from None
    return jax.tree.map(np.asarray, x)


def _column_names(x) -> tuple[str, ...]:
    if hasattr(x, "columns"):
        return tuple(map(str, x.columns))
    x = np.asarray(x) if isinstance(x, list) else x
    return tuple(f"x{i}" for i in range(1, x.shape[1] + 1)) if getattr(x, "ndim", 0) == 2 else ()


def _test_rows(found: Task, test) -> tuple:
    x, y = test
    code = {name: i for i, name in enumerate(found.class_names)}
    unknown = sorted({str(label) for label in np.asarray(y).tolist()} - set(code))
    if unknown:
        raise ValueError(f"the test rows have the class {unknown[0]!r}, which no other row has")
    if found.truth_table:
        raise ValueError(f"{found.name} is a truth table, which has no other rows to test on; leave out `test`")
    return _arrays(x), np.array([code[str(label)] for label in np.asarray(y).tolist()], np.int32)


def _check(found: Task) -> None:
    if found.classes < 2:
        raise ValueError(
            f"{found.name}: every row has the label {found.class_names[0]!r}; expected two classes or more"
        )
    for x, y in [(found.x, found.y), *([found.test] if found.test else [])]:
        if hasattr(x, "ndim") and x.ndim == 2:
            data.check_data(x, y, found.classes)
        for leaf in jax.tree.leaves(x):
            if leaf.shape[:1] != (len(y),) or not np.isfinite(leaf.astype(np.float64)).all():
                raise ValueError(
                    f"{found.name}: x has shape {leaf.shape} for {len(y)} labels; expected finite numbers, a row for "
                    "each label"
                )
