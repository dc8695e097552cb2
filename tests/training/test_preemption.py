import os
import signal

import pytest

from mmadfer_jax import train as training
from mmadfer_jax.evaluation.evaluator import evaluate_clips
from mmadfer_jax.train import train
from mmadfer_jax.trained import load_model
from mmadfer_jax.training import processes
from mmadfer_jax.training.log import HISTORY


@pytest.fixture
def reached():
    """Signals that reached the handler of before."""
    found = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


def test_a_signal_that_comes_twice_is_one_request(reached):
    """SLURM signals a run, and the command that started it passes the signal on."""
    preemption = processes.Preemption()
    preemption.check()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(processes.PreemptedError):
            preemption.check()
    assert reached == []
    preemption.close()
    os.kill(os.getpid(), signal.SIGTERM)
    assert reached == [signal.SIGTERM]


def test_a_later_signal_ends_the_process_at_once(reached, monkeypatch):
    monkeypatch.setattr(processes, "_ONE_REQUEST", 0.0)
    processes.Preemption()
    os.kill(os.getpid(), signal.SIGTERM)
    assert reached == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert reached == [signal.SIGTERM]


def test_the_last_evaluation_closes_the_checkpoint_in_which_it_was_cut_off(
    small_config, tmp_path, monkeypatch
):
    train(small_config, tmp_path / "alone")
    asked = []

    def evaluate(*arguments, **options):
        asked.append("evaluation")
        if len(asked) == 2:  # of epoch 2, the last
            raise processes.PreemptedError
        return evaluate_clips(*arguments, **options)

    monkeypatch.setattr(training, "evaluate_clips", evaluate)
    with pytest.raises(processes.PreemptedError, match="the state after step 4 is saved"):
        train(small_config, tmp_path / "run")
    assert load_model(tmp_path / "run").card.figures["step"] == 2  # of the evaluation before
    for _ in range(2):  # to its end, and once more
        train(small_config, tmp_path / "run")
        found, expected = (load_model(tmp_path / name) for name in ("run", "alone"))
        assert found.card.figures == expected.card.figures
        histories = [(tmp_path / name / HISTORY).read_text() for name in ("run", "alone")]
        assert histories[0] == histories[1]
