"""What every benchmark's result says of the machine and the moment."""

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import threadpoolctl


def stamp(*packages: str) -> dict[str, Any]:
    """Date, command, hardware and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
    }


def take_one_core() -> None:
    """Pins the process to one core, where the system can, and libraries to one thread."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    threadpoolctl.threadpool_limits(1)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
