import random

from mmadfer_jax import files
from tests.killing import STEPS_PER_EPOCH, Trial, differences, events

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
