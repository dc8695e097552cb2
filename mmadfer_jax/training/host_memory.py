"""The memory of a process that computes on the CPU."""

import ctypes
import os
from importlib.metadata import entry_points
from importlib.util import find_spec

# As in malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def may_compute_elsewhere() -> bool:
    """Whether jax may find a GPU or a TPU; asks for its plugins, so that no device is started."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    packages = any(map(find_spec, ("libtpu", "jax_plugins")))
    return packages or bool(entry_points(group="jax_plugins"))


def keep_freed() -> bool:
    """Lets the process keep the memory that it frees; to be called before jax starts.

    XLA frees some 10 GB after a step on the CPU and takes them back in the next. glibc gives such
    large blocks back to the system, which then hands out each page anew: 15 to 23 % of a step
    (docs/performance.md). What is kept is reused, so the most that the process holds is as before.

    Returns:
        Whether it does; it needs Linux with glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    # All from one heap, which never shrinks: other heaps cannot be told to.
    settings = {
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: -1,
        _M_ARENA_MAX: 1,
        _M_TOP_PAD: 64 << 20,
    }
    return all(mallopt(name, value) == 1 for name, value in settings.items())
