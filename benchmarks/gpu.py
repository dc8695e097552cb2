"""Everything that a machine with a GPU has to answer, in one command below ten minutes.

    python benchmarks/gpu.py --out=benchmarks/results/gpu.jsonl

Each part runs in a process of its own with a time limit, the most important first, and every
figure is a line of JSON that is written as it comes. What fails, runs out of memory, or lacks a
package is a line that says so, and the rest goes on. Needs jax, flax, optax, numpy and
ml_collections; PyTorch, Grain and PyAV where they are there. `--toy` rehearses it anywhere, at
sizes whose times mean nothing. docs/gpu.md says how to read the lines.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmadfer_jax.costing.machine import installed, stamp

Line = dict[str, Any]
Items = Mapping[str, Callable[[], Line]]

_HALF_AN_ERROR = 200  # characters: of the beginning and of the end


class Part(NamedTuple):
    """A process.

    Attributes:
        function: "module:function"; given `toy` it returns what to measure by name, in order.
        seconds: It may take.
        environment: Variables of the process beside those of the command.
    """

    function: str
    seconds: float
    environment: Mapping[str, str] = {}


def _flags(*flags: str) -> Part:
    environment = {"XLA_FLAGS": " ".join((os.environ.get("XLA_FLAGS", ""), *flags)).strip()}
    return Part("gpu_parts:flags", 60, environment)


_NO_JAX_ON_GPU = {"JAX_PLATFORMS": "cpu"}  # it would take the memory

# The most important first. Without flags it is the baseline of the variants.
PARTS = {
    "ceiling": Part("gpu_parts:ceiling", 60),
    "ours": Part("gpu_parts:ours", 270),
    "pytorch": Part("gpu_parts:pytorch", 150, _NO_JAX_ON_GPU),
    "loop": Part("gpu_loop:loop", 75),
    "variants": Part("gpu_variants:variants", 180),
    "video": Part("gpu_loop:video", 60),
    "flags latency hiding": _flags("--xla_gpu_enable_latency_hiding_scheduler=true"),
    "flags no command buffers": _flags("--xla_gpu_enable_command_buffer="),
    "flags no Triton products": _flags("--xla_gpu_enable_triton_gemm=false"),
    "flags no autotuning": _flags("--xla_gpu_autotune_level=0"),
    "more pytorch": Part("gpu_parts:more_pytorch", 240, _NO_JAX_ON_GPU),
}


# In the process of a part.


def run_items(items: Items, skip: Sequence[str] = ()) -> Iterator[Line]:
    """Measures one after the other; what raises is a line with its error.

    Yields:
        First {"items": their names}, then {"start": name} and {"name": name, ...} of each.
    """
    names = [name for name in items if name not in skip]
    yield {"items": names}
    for name in names:
        yield {"start": name}
        began = time.monotonic()
        try:
            line = items[name]()
        except Exception as error:  # the others are measured
            line = {"error": shortened(f"{type(error).__name__}: {error}")}
        yield {"name": name, **line, "seconds": round(time.monotonic() - began, 1)}


def shortened(text: str) -> str:
    """Its beginning and its end, in one line."""
    text = " ".join(text.split())
    if len(text) <= 2 * _HALF_AN_ERROR:
        return text
    return f"{text[:_HALF_AN_ERROR]} ... {text[-_HALF_AN_ERROR:]}"


def _child(function: str, toy: bool, skip: Sequence[str]) -> None:
    module, _, name = function.partition(":")
    try:
        items = getattr(importlib.import_module(module), name)(toy)
    except ImportError as error:
        items = {"all": _lacking(error)}
    for line in run_items(items, skip):
        print(json.dumps(line), flush=True)


def _lacking(error: ImportError) -> Callable[[], Line]:
    return lambda: {"error": f"not measured: {error.name or error} is not installed"}


# In the command's own process, which never touches the device.


def run_part(
    name: str, part: Part, *, toy: bool, seconds: float, environment: Mapping[str, str]
) -> Iterator[Line]:
    """Runs a part to its end, starting its process anew after a crash.

    Args:
        name: Of the part.
        part: It.
        toy: Rehearse at toy sizes.
        seconds: All it may take.
        environment: Of the process.

    Yields:
        A line for each figure, and one for each that could not be had.
    """
    deadline, done = time.monotonic() + seconds, []
    while True:
        command = [sys.executable, __file__, f"--child={part.function}"]
        command += [f"--skip={item}" for item in done] + (["--toy"] if toy else [])
        child = _Child(command, {**os.environ, **environment, **part.environment}, deadline)
        items, running = [], None
        for line in child.lines():
            if "items" in line:
                items = line["items"]
            elif "start" in line:
                running = line["start"]
            else:
                running = None
                done.append(line["name"])
                yield {"part": name, **line}
        why = child.why()
        if why is None:
            return
        missing = [item for item in items if item not in done]
        if running is None:
            running = missing[0] if missing else "start"
        yield {"part": name, "name": running, "error": why}
        done.append(running)
        missing = [item for item in missing if item != running]
        if not missing:
            return
        if child.timed_out:
            for item in missing:
                yield {"part": name, "name": item, "error": "not run: no time was left"}
            return


class _Child:
    """A process whose output is lines of JSON, ended at its deadline with all it has started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], deadline: float):
        self._began, self.timed_out = time.monotonic(), False
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._timer = threading.Timer(max(deadline - self._began, 0), self._stop)
        self._timer.start()

    def _stop(self) -> None:
        self.timed_out = True
        os.killpg(self._process.pid, signal.SIGKILL)

    def lines(self) -> Iterator[Line]:
        """What it prints, until it ends; anything but JSON is left out."""
        with self._process.stdout as output:
            for text in output:
                if text.startswith("{"):
                    yield json.loads(text)
        self._process.wait()
        self._timer.cancel()

    def why(self) -> str | None:
        """Why it failed; None if it did not."""
        with self._errors as file:
            if self.timed_out:
                return f"stopped after {time.monotonic() - self._began:.0f} s"
            if not self._process.returncode:
                return None
            file.seek(0)
            return shortened(f"ended with {self._process.returncode}: {file.read()[-2000:]}")


def device() -> Line:
    """What NVIDIA's driver says of the first GPU; empty without one."""
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in found.stdout.strip().split(",")]
    return dict(zip(fields.split(","), values, strict=False))


def run(parts: Mapping[str, Part], *, toy: bool, seconds: float, cache: str) -> Iterator[Line]:
    """All parts, one after the other, within a time."""
    end = time.monotonic() + seconds
    environment = {
        # What one part has compiled another need not.
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": ".92",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    for name, part in parts.items():
        left = end - time.monotonic()
        if left < min(10, part.seconds):
            yield {"part": name, "error": f"not run: {max(left, 0):.0f} s were left of {seconds:g}"}
            continue
        yield from run_part(
            name, part, toy=toy, seconds=min(part.seconds, left), environment=environment
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="rehearse it, at toy sizes")
    parser.add_argument("--only", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="file to which lines are added")
    parser.add_argument("--seconds", type=float, default=540, help="for all of it (540)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--skip", action="append", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, arguments.toy, arguments.skip)
        return
    only = [name.strip() for name in arguments.only.split(",")] if arguments.only else list(PARTS)
    if unknown := [name for name in only if not any(part.startswith(name) for part in PARTS)]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = {name: p for name, p in PARTS.items() if any(name.startswith(o) for o in only)}
    packages = ("jax", "jaxlib", "jax-cuda13-plugin", "flax", "optax", "numpy", "torch", "grain")
    head = {"part": "machine", "toy": arguments.toy, **stamp(*installed(*packages)), **device()}
    out, failed = arguments.out.open("a") if arguments.out else None, 0
    with tempfile.TemporaryDirectory() as cache, out or contextlib.nullcontext():
        lines = run(parts, toy=arguments.toy, seconds=arguments.seconds, cache=cache)
        for line in itertools.chain([head], lines):
            failed += "error" in line
            text = json.dumps(line)
            print(text, flush=True)
            if out:
                print(text, file=out, flush=True)
    print(f"{failed} lines with an error", file=sys.stderr)


if __name__ == "__main__":
    main()
