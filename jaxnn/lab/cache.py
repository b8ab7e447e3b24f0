"""Compiled programs, kept between commands in the user's cache folder: JAX's persistent cache, sealed and bounded.

JAX keeps the programs of its cache with no checksum that holds everywhere, and without bound. So every program gets a
seal, a file of its SHA-256 beside it, when the command that compiled it ends; what has no seal, or another one, is
deleted when the next command begins, before JAX can read it. The library itself never uses the cache.
"""

import contextlib
import hashlib
import os
import platform
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax

from jaxnn.lab.machine import machine, versions

SWITCH = "JAXNN_CACHE"
LIMIT = 2**28  # bytes; beyond, the oldest programs go first
SHORTEST = 0.1  # seconds: what compiles faster is not kept


def root() -> Path | None:
    """The folder of all kept programs; None where JAXNN_CACHE is `off`.

    >>> root()  # doctest: +SKIP
    PosixPath('/home/me/.cache/jaxnn')
    """
    chosen = os.environ.get(SWITCH, "")
    if chosen.lower() in ("off", "0", "no", "false"):
        return None
    if chosen:
        return Path(chosen).expanduser()
    base = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}.get(sys.platform)
    return Path(base or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxnn"


def programs(root: Path) -> dict[Path, int]:
    """The kept programs with their bytes, the oldest first."""
    found = []
    for path in root.glob("*/*-cache"):
        with contextlib.suppress(OSError):  # another process may have deleted it
            found.append((path.stat().st_mtime, path, path.stat().st_size))
    return {path: size for _, path, size in sorted(found)}


def delete(program: Path) -> None:
    """Delete a kept program and its seal."""
    for path in (program, _seal(program)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Find programs that earlier commands compiled, and keep those that this one compiles.

    Call it after `use_all_cores`. A folder that cannot be written, or that others may write into, is not used, nor is
    this one where JAX has a cache already.
    """
    folder = _ready()
    if folder is None:
        yield
        return
    for program in programs(folder.parent):
        if program.parent == folder and not _sealed(program):
            delete(program)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with warnings.catch_warnings():
        # A disk that is full, or a program that another process is just writing: it is compiled again.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
        try:
            yield
        finally:
            jax.config.update("jax_compilation_cache_dir", None)
            _keep(folder)


def _ready() -> Path | None:
    """The folder for programs of this machine and these versions, made and private; None where there cannot be one."""
    if (base := root()) is None or jax.config.jax_compilation_cache_dir:
        return None
    # A program is machine code: not for another processor that shares the home folder.
    folder = base / hashlib.sha256(repr((versions(), machine(), platform.machine())).encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder if os.access(folder, os.W_OK) and _private(base) and _private(folder) else None
    except OSError:
        return None


def _private(folder: Path) -> bool:
    """Whether nobody else can write into it."""
    about = folder.stat()
    mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return mine and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _seal(program: Path) -> Path:
    return program.with_suffix(".sha256")


def _digest(program: Path) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()


def _sealed(program: Path) -> bool:
    try:
        return _seal(program).read_text() == _digest(program)
    except OSError:
        return False


def _keep(folder: Path) -> None:
    """Seal what this command compiled; of too much, delete the oldest."""
    kept = programs(folder.parent)
    with contextlib.suppress(OSError):
        for program in kept:
            if program.parent == folder and not _seal(program).exists():
                _seal(program).write_text(_digest(program))
    excess = sum(kept.values()) - LIMIT
    for program, size in kept.items():
        if excess > 0:
            excess -= size
            delete(program)
