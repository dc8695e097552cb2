"""Kills a training run at random moments and compares what it ends with, to the bit.

    python benchmarks/faults.py --kills=20 --seed=0 --out=benchmarks/results/faults.json
    python benchmarks/faults.py --kills=20 --processes=2 --out=benchmarks/results/faults_2.json

`main.py` trains a small model on the CPU, once left alone and once killed (SIGKILL) again and again
and started anew with the same command: while it starts, in the middle of epochs, while it
evaluates, saves a checkpoint and writes its report. With several processes each time one of them is
killed, and the others have to end by themselves. All files of the two runs, every logged value
of every step, and all arrays of the last checkpoint have to be the same. Prints a line of JSON a
kill and a summary; exits with 1 where anything differs.
"""

import argparse
import collections
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmadfer_jax.costing.machine import stamp
from tests.killing import MOMENTS, Kill, Trial, differences

_LAST = "reporting"  # a moment that comes only once a run has taken its last step


def moments(kills: int, rng: random.Random) -> list[str]:
    """What to wait for before each kill: all moments alike often, those of the end last."""
    names = sorted(MOMENTS, key=lambda name: name == _LAST)
    drawn = [names[i % len(names)] for i in range(kills)]
    rng.shuffle(drawn)
    return sorted(drawn, key=lambda name: name == _LAST)


def measure(folder: Path, kills: int, seed: int, processes: int) -> dict[str, Any]:
    """Does all of it; the numbers of the summary, and what differs."""
    rng = random.Random(seed)
    # No life takes more than one epoch's steps, so the kills are spread over the run.
    trial = Trial(folder, epochs=max(2, kills * 4 // 5), processes=processes)
    trial.finish("alone")
    met: list[Kill] = []
    for moment in moments(kills, rng):
        kill = trial.start("killed").kill_at(moment, rng)
        while kill is None:  # the run has ended, but gives its report again at every start
            kill = trial.start("killed").kill_at(rng.choice(["starting", _LAST]), rng)
        met.append(kill)
        print(json.dumps({"kill": len(met), **kill._asdict()}), flush=True)
    trial.finish("killed")
    return {
        "processes": processes,
        "kills": [kill._asdict() for kill in met],
        "phases": dict(collections.Counter(kill.phase for kill in met)),
        "while_saving": sum(kill.saving for kill in met),
        "differences": differences(trial.run("killed"), trial.run("alone")),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how many (20)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and delays (0)")
    parser.add_argument("--processes", type=int, default=1, help="that train together (1)")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.kills, arguments.seed, arguments.processes)
    result = stamp("jax", "jaxlib", "orbax-checkpoint", "tensorstore", "grain", "tensorboard")
    result |= {"seconds": round(time.monotonic() - began), **found}
    print(json.dumps({name: value for name, value in result.items() if name != "kills"}))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if found["differences"]:
        sys.exit(f"{len(found['differences'])} differences")


if __name__ == "__main__":
    main()
