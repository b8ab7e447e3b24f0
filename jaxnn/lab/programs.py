"""Programs that compile in other threads while the present one runs."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxnn.lab.devices import cores


def compile_ahead(jobs: Iterable, compile: Callable) -> Iterator[tuple[Any, Any]]:
    """Every job with `compile(job)`, in order; the next few are compiled in other threads meanwhile.

    Args: jobs; compile, a function of a job, such as `lambda job: jax.jit(...).lower(...).compile()`.

    >>> [program for _, program in compile_ahead([1, 2, 3], lambda job: job**2)]
    [1, 4, 9]
    """
    jobs, programs = iter(jobs), deque()
    with ThreadPoolExecutor(cores()) as pool:

        def submit(count):
            programs.extend((job, pool.submit(compile, job)) for job in itertools.islice(jobs, count))

        try:
            submit(4 * cores())  # no more: each program takes memory maps, of which a process has 65,530
            while programs:
                job, program = programs.popleft()
                yield job, program.result()
                submit(1)
        finally:
            pool.shutdown(cancel_futures=True)
