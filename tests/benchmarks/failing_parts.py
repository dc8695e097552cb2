"""Parts for `benchmarks/gpu.py` that go wrong."""

import os
import time


def broken(toy: bool):
    def fails():
        raise MemoryError("RESOURCE_EXHAUSTED: out of memory\n" + 1000 * "x" + " the end")

    return {
        "fine": lambda: {"toy": toy},
        "fails": fails,
        "crashes": lambda: os._exit(7),
        "after the crash": lambda: {"value": 1},
        "hangs": lambda: time.sleep(1000),
        "after the hang": lambda: {"value": 2},
    }


def lacking(toy: bool):
    import a_package_that_nobody_has

    return a_package_that_nobody_has


def wrong(toy: bool):
    raise SystemExit("cannot start at all")
