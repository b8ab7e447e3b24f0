"""Finished blocks of a sweep on disk: one file each, written at once or not at all, found again by its content.

A block's file is named by a digest of everything that its numbers depend on, so a file that is there is the right one:
resuming is finding. Each file is sealed with a checksum of its name and content: one that is damaged, or another one's
under its name, is noticed when it is read, and computed anew.
"""

import hashlib
import inspect
import io
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType

import numpy as np


def digest(*parts) -> str:
    """A short name for arrays, numbers, strings, functions, and tuples, mappings and dataclasses of them.

    A function counts by its code, not by where it lies in memory: with its defaults, what it closes over, and the
    numbers and functions of its own module that it uses.

    >>> digest("a", (1, 2.0), np.ones(2)) == digest("a", (1, 2.0), np.ones(2)) != digest("a", (1, 2.0), np.zeros(2))
    True
    >>> digest(lambda x: x + 1) == digest(lambda x: x + 2)
    False
    """
    return hashlib.sha256("\n".join(map(_canonical, parts)).encode()).hexdigest()[:24]


def _canonical(part, inside=()) -> str:
    """Text that equal parts share; `inside` are the functions and objects that this is a part of."""
    again = partial(_canonical, inside=(*inside, part))
    if hasattr(part, "__array__") and isinstance(part.dtype, np.dtype):
        array = np.ascontiguousarray(part)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(part, Mapping):
        return again(tuple(part.items()))
    if isinstance(part, tuple | list):
        return "(" + ",".join(map(again, part)) + ")"
    if isinstance(part, CodeType):
        return again((part.co_code.hex(), part.co_names, part.co_varnames, part.co_consts))
    if any(part is outer for outer in inside):
        return f"{type(part).__name__} within itself"
    if is_dataclass(part) and not isinstance(part, type):
        return again((type(part), *(getattr(part, field.name, None) for field in fields(part) if field.compare)))
    if isinstance(part, partial):
        return again((part.func, part.args, part.keywords))
    if inspect.ismethod(part):
        return again((part.__self__, part.__func__))
    if inspect.isfunction(part):
        closed = [cell.cell_contents for cell in part.__closure__ or ()]
        return again((part.__module__, part.__code__, part.__defaults__, part.__kwdefaults__, closed, _globals(part)))
    if hasattr(part, "__wrapped__"):  # what jax.jit, jax.custom_jvp and jax.custom_vjp return
        return again((part.__wrapped__, *(getattr(part, rule, None) for rule in ("jvp", "fwd", "bwd"))))
    if callable(part) and hasattr(part, "__qualname__"):
        return f"{part.__module__}.{part.__qualname__}"
    if type(part).__repr__ is object.__repr__:
        return again((type(part), vars(part)))
    return repr(part)


def _globals(function) -> dict:
    """The numbers, arrays and functions of its own module that a function may use, by name."""
    named = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, int | float | str | tuple | list | dict | np.ndarray)
        or (callable(value) and getattr(value, "__module__", None) == function.__module__)
    }


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
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by another run; wait for it, or choose another folder") from None
        yield


def write_atomically(path: Path, write) -> None:
    """Call `write(file)` on a new binary file that takes the place of `path` only when it is complete.

    Args: path; write, a function of an open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")  # of a process that was killed: written over by the next
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say what it was to hold
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping) -> None:
    """Write named arrays and a description atomically, as an npz archive with a seal after it."""
    body = io.BytesIO()
    np.savez(body, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    write_atomically(path, lambda file: file.write(body.getvalue() + _seal(path, body.getvalue())))


def load(path: Path, about: Mapping) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None where there is none, or one that is damaged, renamed or describes something else."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body, seal = content[:-_SEAL], content[-_SEAL:]
    if seal != _seal(path, body):
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays if json.loads(arrays.pop("about").tobytes()) == dict(about) else None


_SEAL = 32  # bytes; the checksums of zip miss damage to its directory


def _seal(path: Path, body: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + body).digest()
