"""What reading costs beyond one machine: a large dataset opened, reads by N processes simulated.

    python benchmarks/reads.py --out=benchmarks/results/reads.json

"opening" is measured: the indices of a dataset of a million clips, whose shards are holes of the
right size, are read as a run reads them. So is "a read over http": what it costs the reader, from a
server on this machine, without encryption. "feeding" is simulated: N processes read the rows of
global batches from a bucket, in order, and the devices of all step together, so that the slowest
read of N processes holds up all of them. A read takes a latency that is log-normal, the time of its
bytes, and that of decoding; latencies are assumptions and stand beside the result.
"""

import argparse
import dataclasses
import http.server
import json
import math
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.shards import index_path, shard_name
from mmadfer_jax.data.tfrecord import FRAME_BYTES
from mmadfer_jax.training import input as pipeline

_P99 = 2.326  # standard deviations of a normal distribution


@dataclasses.dataclass(frozen=True)
class Feeding:
    """A run that reads from a bucket.

    Attributes:
        processes: N, of which each feeds its own devices.
        clips: Of a global batch that one process reads.
        step: Seconds the devices take for a batch.
        readers: Reads under way at once in a process.
        own: Whether each reader has its own clips (worker processes), or takes the next (threads).
        median: Latency of a read in seconds, to the first byte.
        p99: The latency that one read of a hundred exceeds.
        megabytes: Of a clip.
        bandwidth: Megabytes a second of one reader.
        decode: Seconds of one core to decode a clip.
        ahead: Batches that may be read ahead; two in `training.input`.
    """

    processes: int
    clips: int
    step: float
    readers: int
    own: bool
    median: float
    p99: float
    megabytes: float
    bandwidth: float = 80.0
    decode: float = 1 / 247
    ahead: int = 2

    def needed(self) -> float:
        """Readers that Little's law asks for, were every read to take the mean time."""
        sigma = math.log(self.p99 / self.median) / _P99
        mean = self.median * math.exp(sigma**2 / 2) + self.megabytes / self.bandwidth + self.decode
        return self.clips / self.step * mean


def simulate(run: Feeding, steps: int = 200, seed: int = 0) -> float:
    """The share of time in which the devices compute, after a tenth of the steps to warm up.

    As in `train.py`, two steps are in flight.
    """
    rng = np.random.default_rng(seed)
    n, ahead = run.processes, max(run.ahead * run.clips, run.readers)
    sigma = math.log(run.p99 / run.median) / _P99
    free = np.zeros((n, run.readers))  # when each reader has finished its read
    taken = np.zeros((n, steps))  # when a process had the whole batch
    ended = np.zeros(steps)
    rows, last = np.arange(n), np.zeros(n)  # when all clips so far were there
    for step in range(steps):
        for clip in range(step * run.clips, (step + 1) * run.clips):
            reader = clip % run.readers if run.own else free.argmin(axis=1)
            start = free[rows, reader]
            if clip >= ahead:  # there is room once a clip of a batch before was taken
                start = np.maximum(start, taken[:, (clip - ahead) // run.clips])
            latency = run.median * np.exp(sigma * rng.standard_normal(n))
            free[rows, reader] = start + latency + run.megabytes / run.bandwidth + run.decode
            last = np.maximum(last, free[rows, reader])
        dispatched = ended[step - 3] if step >= 3 else 0.0
        taken[:, step] = np.maximum(last, dispatched)
        before = ended[step - 1] if step else 0.0
        ended[step] = max(before, taken[:, step].max()) + run.step
    warm = steps // 10
    return (steps - 1 - warm) * run.step / (ended[-1] - ended[warm])


def write_large(folder: Path, clips: int, clips_a_shard: int, size: int) -> int:
    """A dataset of holes with true indices; returns its shards."""
    (folder / "index").mkdir()
    count = -(-clips // clips_a_shard)
    for shard in range(count):
        names = range(shard * clips_a_shard, min((shard + 1) * clips_a_shard, clips))
        name = shard_name("large", "train", shard, count)
        fields = {
            "bytes": len(names) * (size + FRAME_BYTES),
            "offsets": [i * (size + FRAME_BYTES) for i in range(len(names))],
            "lengths": [size] * len(names),
            "ids": [f"clip{number:08d}" for number in names],
            "labels": [number % 7 for number in names],
        }
        index_path(folder, name).write_text(json.dumps(fields))
        with (folder / name).open("wb") as file:
            file.truncate(fields["bytes"])
    DatasetInfo("large", tuple("abcdefg"), {"train": clips}, 224, {}).save(folder)
    return count


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = function()
    return round(time.process_time() - start, 2), result


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def opening(clips: int, clips_a_shard: int, size: int) -> dict[str, Any]:
    """What each process of a run does before its first batch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = write_large(folder, clips, clips_a_shard, size)
        index_bytes = sum(path.stat().st_size for path in (folder / "index").iterdir())
        before = _resident()
        open_s, source = _timed(lambda: RecordSource(folder, ["train"]))
        memory = _resident() - before
        pickle_s, pickled = _timed(lambda: pickle.dumps(source))
        load_s, _ = _timed(lambda: pickle.loads(pickled))
        order_s, _ = _timed(lambda: pipeline._order(0, 0, clips))
    return {
        "clips": clips,
        "shards": shards,
        "index_megabytes": round(index_bytes / 1e6, 1),
        "requests_to_open": 1 + 2 * shards,
        "core_seconds": {
            "opening": open_s,
            "pickling for a worker": pickle_s,
            "unpickling in a worker": load_s,
            "order of an epoch": order_s,
        },
        "megabytes": {
            "in a process": round(memory / 1e6),
            "pickled for a worker": round(len(pickled) / 1e6),
        },
    }


class _Bytes(http.server.BaseHTTPRequestHandler):
    """Any part of a large file of zeros."""

    protocol_version = "HTTP/1.1"
    size = 64_000_000

    def do_HEAD(self) -> None:
        """Tells its size."""
        self.send_response(200)
        self.send_header("Content-Length", str(self.size))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def do_GET(self) -> None:
        """Sends a part."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self.send_response(206)
        self.send_header("Content-Length", str(int(last) + 1 - int(first)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{self.size}")
        self.end_headers()
        self.wfile.write(bytes(int(last) + 1 - int(first)))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _serve(port: multiprocessing.Queue) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bytes)
    port.put(server.server_port)
    server.serve_forever()


def over_http(size: int, reads: int = 600) -> dict[str, float]:
    """Milliseconds of a core that a read costs the reader, by threads that read at once."""
    spawn = multiprocessing.get_context("spawn")
    port, found = spawn.Queue(), {}
    server = spawn.Process(target=_serve, args=(port,), daemon=True)
    server.start()
    path = UPath(f"http://127.0.0.1:{port.get()}/shard")
    files.read_range(path, 0, size)
    for threads in (1, 8, 32):
        with ThreadPoolExecutor(threads) as pool:
            start = time.process_time()
            list(pool.map(lambda i: files.read_range(path, i * 1000, size), range(reads)))
            used = time.process_time() - start
        found[f"{threads} threads"] = round(1000 * used / reads, 2)
    server.terminate()
    return found


def feeding(megabytes: float) -> list[dict[str, Any]]:
    """Two machines, latencies of two kinds, and readers in threads or as workers."""
    machines = {
        # Processes and clips of a batch in each; a step at 40 % of peak, 1.35 TFLOP a clip.
        "v5e 16x16, 16 clips a chip": (32, 128, 16 * 1.35 / (0.4 * 197)),
        "64 H100, 32 clips a GPU": (8, 256, 32 * 1.35 / (0.4 * 989)),
    }
    latencies = {"50 ms, p99 300 ms": (0.05, 0.3), "150 ms, p99 1 s": (0.15, 1.0)}
    found = []
    for machine, (processes, clips, step) in machines.items():
        for latency, (median, p99) in latencies.items():
            for own in (False, True):
                run = Feeding(processes, clips, step, 1, own, median, p99, megabytes)
                busy = {
                    f"{ahead} batches ahead, {readers} readers": round(
                        simulate(dataclasses.replace(run, ahead=ahead, readers=readers)), 3
                    )
                    for ahead in (2, 4, 8)
                    for readers in (16, 64, 256)
                }
                found.append(
                    {
                        "machine": machine,
                        "latency": latency,
                        "readers are": "worker processes" if own else "threads",
                        "clips_a_second_a_process": round(clips / step),
                        "clips_a_second": round(processes * clips / step),
                        "gigabytes_a_second": round(processes * clips / step * megabytes / 1e3, 1),
                        "readers_by_littles_law": math.ceil(run.needed()),
                        "share of the time in which devices compute": busy,
                    }
                )
    return found


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--clips_a_shard", type=int, default=128)
    parser.add_argument("--megabytes", type=float, default=0.9, help="of a clip")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    result = stamp() | {
        "megabytes_a_clip": flags.megabytes,
        "opening": opening(flags.clips, flags.clips_a_shard, int(flags.megabytes * 1e6)),
        "core_milliseconds_a_read_over_http": over_http(int(flags.megabytes * 1e6)),
        "feeding": feeding(flags.megabytes),
    }
    print(json.dumps(result, indent=1))
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
