import os
import signal

import pytest

from mmadfer_jax.training import processes


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
