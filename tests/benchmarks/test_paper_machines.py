"""The benchmarks that count and simulate, where there is no machine to measure on."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def reads():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("reads")
    sys.path.remove(str(ROOT / "benchmarks"))


def test_simulated_reads_follow_littles_law(reads):
    """Where every read takes as long as the others, arithmetic is right."""
    run = reads.Feeding(4, 32, 0.5, 1, False, 0.1, 0.1, 0.9)
    needed = run.needed()
    assert needed == pytest.approx(64 * (0.1 + 0.9 / 80 + 1 / 247))
    for own in (False, True):  # a fourth, half, twice as many readers
        for share in (0.25, 0.5, 2):
            readers = round(needed * share)
            some = dataclasses.replace(run, readers=readers, own=own)
            expected = min(readers / needed, 1)
            assert reads.simulate(some) == pytest.approx(expected, abs=0.03)


def test_simulated_reads_wait_for_the_slowest(reads):
    """A tail costs more with more processes, and less where more is read ahead."""
    run = reads.Feeding(2, 32, 0.5, 32, False, 0.1, 1.0, 0.9)
    many = dataclasses.replace(run, processes=32)
    ahead = dataclasses.replace(many, ahead=8)
    few, many, ahead = (reads.simulate(x, steps=100) for x in (run, many, ahead))
    assert many < few
    assert many < ahead


def test_what_is_kept_for_the_gradient(tmp_path):
    """The paper's model at batch 8 in 16 GB, and with layers computed again in 8 GB."""
    command = [sys.executable, "benchmarks/memory.py", "--config=configs/default.py"]
    command += ["--batch=8", f"--out={tmp_path / 'memory.json'}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (counts,) = json.loads((tmp_path / "memory.json").read_text())["counts"]
    peak = {remat: figures["peak"] for remat, figures in counts["gigabytes"].items()}
    assert peak["attention"] < 16 < peak["none"]  # counted: 9.3 and 30.0
    assert peak["layers"] < 8  # counted: 4.0
