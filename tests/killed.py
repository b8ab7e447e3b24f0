"""A sweep whose process is killed twenty times, then finished; and the same undisturbed.

    python tests/killed.py FOLDER

Prints the number of finished blocks at every death and leaves both tables in FOLDER. Half of the deaths come in the
middle of writing a block, at the latest after three; half by the clock. A child is forked after the imports and
before JAX has threads, and programs are compiled once, so that a life is short.
"""

import os
import random
import signal
import sys
from pathlib import Path
from threading import Timer

import jax
import numpy as np

from jaxnn.lab import grid, splits, sweep, task, use_all_cores

DEATHS, MOST = 20, 3
# More blocks of two than can be finished before the last death.
TRIALS = grid(task="xor", hidden=(), epochs=4, evaluate_every=2, learning_rate=0.1, seed=range(2 * (DEATHS * MOST + 2)))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def doom(rng, by_the_clock):
    """Let this process die, with a part of a block written."""
    fsync, left = os.fsync, iter(range(rng.randint(0, MOST)))

    def fatal(file):
        if next(left, None) is None:
            os.truncate(file, rng.randrange(os.fstat(file).st_size))
            die()
        fsync(file)

    os.fsync = fatal
    if by_the_clock:
        timer = Timer(rng.uniform(0, 1.5), die)
        timer.daemon = True
        timer.start()


def live(folder, death=None):
    """Sweep in a child; returns how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        if death is not None:
            doom(random.Random(death), by_the_clock=death % 2)
        use_all_cores()
        jax.config.update("jax_compilation_cache_dir", str(folder.with_name("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        found = sweep(TRIALS, {"xor": splits(task("xor"))}, folder=folder, block=2)
        np.savez(folder / "table.npz", **found.columns)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    for number in range(DEATHS):
        assert live(here / "killed", number) == -signal.SIGKILL
        print(len(list(here.glob("killed/blocks/*.npz"))))
    assert live(here / "killed") == live(here / "whole") == 0
