import os
import random
import subprocess
import sys

from mmadfer_jax import files
from tests.killing import ROOT, STEPS_PER_EPOCH, Trial, differences, events

EPOCHS = 2


def test_a_run_killed_anywhere_ends_with_the_numbers_of_one_left_alone(tmp_path):
    """The short form of `benchmarks/faults.py`."""
    rng, trial = random.Random(0), Trial(tmp_path, epochs=EPOCHS)
    trial.finish("alone")
    run = trial.run("killed")
    for moment in ("saving", "evaluating", "reporting"):
        kill = trial.start("killed").kill_at(moment, rng)
        assert kill is not None
        assert kill.reached > 0
        assert (run / files.LOCK).exists()  # and the next start takes it
    last = trial.finish("killed")
    assert "going on after step" in last.text()
    assert "Traceback" not in last.text()
    losses = {step for tag, step in events(run) if tag == "train/loss"}
    assert losses == set(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    assert differences(run, trial.run("alone")) == []


_READER = """
import sys
import time

from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.training.input import train_batches

if __name__ == "__main__":
    source, reading = RecordSource(sys.argv[1], ["train"]), Reading(4, 64)
    options = {"batch_size": 4, "seed": 0, "epochs": 1000, "num_workers": 1}
    batches = train_batches(source, reading, **options)
    next(batches)
    print("reading", flush=True)
    time.sleep(60)
"""


def test_the_workers_of_a_killed_run_end_with_it(small_dataset, tmp_path):
    """They would hold their memory for ever."""
    script = tmp_path / "reader.py"
    script.write_text(_READER)
    command = [sys.executable, script, small_dataset]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"reading\n"
        process.kill()
        # The pipe ends when the last process that holds it does.
        process.communicate(timeout=20)
