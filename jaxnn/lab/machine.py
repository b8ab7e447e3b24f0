"""What results were made with and on: versions of packages, the machine."""

from functools import cache
from importlib import metadata

import jax

from jaxnn.lab.devices import cores


@cache
def versions() -> dict[str, str]:
    """The packages that numbers depend on.

    >>> list(versions())
    ['jaxnn', 'jax', 'jaxlib', 'optax', 'numpy']
    """
    return {name: metadata.version(name) for name in ("jaxnn", "jax", "jaxlib", "optax", "numpy")}


def machine() -> dict[str, str | int]:
    """Processor, cores, devices, platform.

    >>> sorted(machine())
    ['cores', 'devices', 'platform', 'processor']
    """
    import platform

    devices = jax.local_devices()
    return {
        "processor": _processor() or platform.machine(),
        "cores": cores(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "platform": platform.platform(),
    }


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return ""
