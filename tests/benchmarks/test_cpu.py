"""The comparison on a CPU, rehearsed with a tiny model."""

import json
import subprocess
import sys
from pathlib import Path

CPU = Path(__file__).parent.parent.parent / "benchmarks" / "cpu.py"


def test_every_part_is_measured_in_a_process_of_its_own():
    command = [sys.executable, str(CPU), "--toy", "--steps=1", "--warmup=0", "--batch=1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = json.loads(done.stdout)
    for work in ("training", "prediction"):
        for program in ("ours", "torch", "products"):
            assert line[f"{program}_{work}_seconds"] > 0
        assert {f"{work}_to_torch", f"{work}_to_products"} <= line.keys()
    assert line["shards_seconds"] > 0
    assert line["share_of_synthetic"] > 0
    assert (line["batch"], line["threads"], line["toy"]) == (1, 2, True)
