"""Finished blocks of a sweep on disk: one file each, written at once or not at all, found again by its content.

A block's file is named by a digest of everything that its numbers depend on, so a file that is there is the right one:
resuming is finding. Files are zip archives with checksums: a damaged one is noticed when it is read, and computed anew.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def digest(*parts) -> str:
    """A short name for arrays, numbers, strings, functions, and tuples and mappings of them.

    A function counts by its name and its code, not by where it lies in memory.

    >>> digest("a", (1, 2.0), np.ones(2)) == digest("a", (1, 2.0), np.ones(2)) != digest("a", (1, 2.0), np.zeros(2))
    True
    """
    return hashlib.sha256("\n".join(map(_canonical, parts)).encode()).hexdigest()[:24]


def _canonical(part) -> str:
    if isinstance(part, np.ndarray):
        return f"{part.dtype}{part.shape}{hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()}"
    if isinstance(part, Mapping):
        part = tuple(part.items())
    if isinstance(part, tuple | list):
        return "(" + ",".join(map(_canonical, part)) + ")"
    if hasattr(part, "__code__"):
        code = part.__code__
        closed = tuple(cell.cell_contents for cell in part.__closure__ or ())
        constants = tuple(c for c in code.co_consts if not hasattr(c, "co_code"))
        return _canonical((part.__module__, part.__qualname__, code.co_code.hex(), repr(constants), closed))
    if callable(part) and hasattr(part, "__qualname__"):
        return f"{part.__module__}.{part.__qualname__}"
    return repr(part)


@contextmanager
def exclusive(folder: Path):
    """Hold the folder for this process alone; the lock ends with the process, however that ends.

    Raises:
      ValueError: another process holds it.
    """
    import fcntl  # not on every system, and only folders need it

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder} is in use by another run; wait for it, or choose another folder") from None
        yield


def write_atomically(path: Path, write) -> None:
    """Call `write(file)` on a new binary file that takes the place of `path` only when it is complete.

    Args: path; write, a function of an open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping) -> None:
    """Write named arrays and a description atomically."""
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_atomically(path, lambda file: np.savez(file, about=text, **arrays))


def load(path: Path, about: Mapping) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None where there is none, or one that is damaged or describes something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays if json.loads(arrays.pop("about").tobytes()) == dict(about) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
