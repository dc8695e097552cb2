"""One core for what is measured by core."""

import os


def take_one_core() -> None:
    """Pins the process to one core, where the system can, and libraries to one thread."""
    import cv2  # not on every machine that runs a benchmark
    import threadpoolctl

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    threadpoolctl.threadpool_limits(1)
