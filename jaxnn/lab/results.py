"""A folder with an answer: what is written into it, and read back."""

import io
import json
import zlib
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from jaxnn.lab import answer, store
from jaxnn.lab.answer import Record
from jaxnn.lab.sweeps import Table
from jaxnn.lab.tasks import Task


class Found(NamedTuple):
    """What a folder holds."""

    record: Record
    rows: dict[str, Task]
    trials: Table


def save(folder, record: Record, rows: dict[str, Task], trials: Table, page: str) -> None:
    """Write answer.json, report.html, trials.parquet (a row for each trained network) and the rows of each task.

    Args: folder; record; rows, the tasks by name; trials, of which columns with one number a trial are kept; page.
    Raises OSError where the folder cannot be written; what is there already stays whole.
    """
    pyarrow, parquet = _pyarrow()
    folder = Path(folder)
    for name, task in rows.items():
        _write_rows(folder / "rows" / f"{_file_name(name)}.npz", task)
    table = pyarrow.table({name: column for name, column in trials.columns.items() if column.ndim == 1})
    store.write_atomically(folder / "trials.parquet", lambda file: parquet.write_table(table, file))
    store.write_atomically(folder / "report.html", lambda file: file.write(page.encode()))
    store.write_atomically(folder / "answer.json", lambda file: file.write(answer.to_json(record).encode()))


def load(folder) -> Found:
    """What a folder holds.

    Raises:
      FileNotFoundError: it holds no answer.
      ValueError: the answer is damaged, or of another version.
    """
    folder = Path(folder)
    path = folder / "answer.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that `jaxnn compare` or `save` wrote")
    try:
        record = answer.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; run its question again, which goes on from the finished blocks") from None
    rows = {name: _read_rows(folder / "rows" / f"{_file_name(name)}.npz") for name in record.tasks}
    _, parquet = _pyarrow()
    table = parquet.read_table(folder / "trials.parquet")
    return Found(record, rows, Table({name: table[name].to_numpy() for name in table.column_names}))


def check() -> None:
    """Raise ImportError if what a folder needs is not installed: before hours of work, not after."""
    _pyarrow()


def _pyarrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("a folder of results needs pyarrow: pip install 'jaxnn[lab]'") from error
    return pyarrow, parquet


def _file_name(name: str) -> str:
    """A task's name as that of a file; others than letters and digits by their code."""
    return "".join(c if c.isalnum() or c in "-_. " else f"%{ord(c):x}" for c in name)


def _write_rows(path, task) -> None:
    body = io.BytesIO()
    test = {} if task.test is None else _named("test_x", task.test[0]) | {"test_y": task.test[1]}
    about = {
        "name": task.name, "class_names": task.class_names, "feature_names": task.feature_names, "source": task.source,
        "truth_table": task.truth_table,
    }  # fmt: skip
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    labels = {} if task.labels is None else {"labels": task.labels}
    np.savez_compressed(body, about=text, y=task.y, **_named("x", task.x), **test, **labels)
    store.write_atomically(path, lambda file: file.write(body.getvalue()))


def _read_rows(path) -> Task:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (BadZipFile, ValueError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); ask the question again, which writes it anew") from None
    about = json.loads(arrays.pop("about").tobytes())
    test = (_unnamed("test_x", arrays), arrays["test_y"]) if "test_y" in arrays else None
    names = {name: tuple(about.pop(name)) for name in ("class_names", "feature_names")}
    return Task(x=_unnamed("x", arrays), y=arrays["y"], test=test, labels=arrays.get("labels"), **names, **about)


def _named(prefix, x) -> dict[str, np.ndarray]:
    """An array, or a mapping or sequence of arrays, by name."""
    if isinstance(x, dict):
        return {f"{prefix}.{name}": np.asarray(leaf) for name, leaf in x.items()}
    if isinstance(x, list | tuple):
        return {f"{prefix}#{i}": np.asarray(leaf) for i, leaf in enumerate(x)}
    return {prefix: np.asarray(x)}


def _unnamed(prefix, arrays):
    if prefix in arrays:
        return arrays[prefix]
    found = {name: a for name, a in arrays.items() if name.startswith((f"{prefix}.", f"{prefix}#"))}
    if any("#" in name[: len(prefix) + 1] for name in found):
        return tuple(found[f"{prefix}#{i}"] for i in range(len(found)))
    return {name.removeprefix(f"{prefix}."): a for name, a in found.items()}
