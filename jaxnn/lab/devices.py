"""Devices, for commands and scripts: the library itself uses what it finds and sets nothing."""

import os

import jax

# Of XLA on CPU: emit a loop of at most so many bytes as one kernel, which jax 0.12 does by itself; let a fusion have
# several outputs, so that a gradient is computed once and not in each of the optimizer's moments; and leave out what
# costs LLVM time and gains nothing after that. A version of XLA that does not know an extra option ignores it.
_OPTIONS = (
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000000,xla_cpu_use_multi_output_fusion,"
    "xla_cpu_disable_slp_vectorizer",
    "--xla_backend_optimization_level=1",
)
# Vectors as wide as the processor has. An unknown flag ends the process, so only versions that were tried get this one.
_WIDE_VECTORS, _TRIED = "--xla_cpu_prefer_vector_width=512", (0, 12)


def use_all_cores() -> None:
    """Make every CPU core a JAX device, and XLA's code for small networks fast; call it before anything else uses JAX.

    A single CPU device runs programs of many small networks on one core. On each core the flags make XOR, trained by
    Adam, three times as fast with jax 0.10.2. Flags that are set already stay as they are.

    >>> use_all_cores()  # doctest: +SKIP
    """
    flags = os.environ.get("XLA_FLAGS", "")
    wide = (_WIDE_VECTORS,) if jax.version.__version_info__[:2] <= _TRIED else ()
    new = [option for option in (*_OPTIONS, *wide) if option.split("=")[0] not in flags]
    os.environ["XLA_FLAGS"] = " ".join([flags, *new]).strip()
    if "--xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """How many CPU cores this process may use.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def available_memory() -> int | None:
    """Bytes of main memory that are free, where Linux tells it.

    >>> available_memory() is None or available_memory() > 0
    True
    """
    try:
        with open("/proc/meminfo") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable")), None)
    except OSError:
        return None
