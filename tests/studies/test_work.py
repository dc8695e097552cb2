import json
import os
import shutil
import signal
import sys
import threading
import time

import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.studies import work as work_module
from mmadfer_jax.studies.lease import Leases
from mmadfer_jax.studies.outcome import FAILURE, FINISHED, look, write_failure
from mmadfer_jax.studies.plan import Arm, Study, plan_study
from mmadfer_jax.studies.work import Stopped, Work, holder
from tests.studying import finish, tiny_settings, write_folds_dataset

# In place of training: notes its start, then puts what a run writes where it belongs.
_WELL = "echo {name} >> {folder}/order; sleep {pause}; cp -r {prepared}/. {run}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folds_dataset(folder, 2)
    arms = (Arm("full"), Arm("deeper", {"model.temporal_depth": 2}))
    return plan_study(Study("A question", "config.py", arms), tiny_settings(folder)).runs


@pytest.fixture(scope="module")
def prepared(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    for run in runs:
        finish(run, folder / run.name)
    return folder


class Stage:
    """A folder of a study whose runs are played by the shell."""

    def __init__(self, folder, prepared, monkeypatch):
        self.folder, self.prepared = folder, prepared
        self.scripts, self.pause = {}, 0
        monkeypatch.setattr(Work, "_command", lambda work, run: self._command(run))

    def _command(self, run):
        script = self.scripts.get(run.name, _WELL).format(
            name=run.name,
            folder=self.folder,
            pause=self.pause,
            prepared=self.prepared / run.name,
            run=self.folder / run.name,
        )
        return ["sh", "-c", script]

    def started(self):
        """Names of runs in the order in which they were started."""
        path = self.folder / "order"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def stage(tmp_path, prepared, monkeypatch):
    return Stage(tmp_path, prepared, monkeypatch)


def states(runs, folder):
    return [look(run, folder / run.name).state for run in runs]


def test_each_run_is_trained_once_in_order(stage, runs, capfd):
    Work(stage.folder, runs).train()
    assert stage.started() == [run.name for run in runs]
    assert states(runs, stage.folder) == [FINISHED] * 4
    assert list((stage.folder / "locks").iterdir()) == []
    settings = json.loads((stage.folder / runs[1].name / "settings.json").read_text())
    assert settings["model"]["temporal_depth"] == 2
    Work(stage.folder, runs).train()
    assert len(stage.started()) == 4
    assert "full-fold1-seed0: finished, UAR 100.00%" in capfd.readouterr().err


def test_several_at_once_and_several_commands_train_each_run_once(stage, runs):
    stage.pause = 0.2
    works = [Work(stage.folder, runs) for _ in range(3)]
    threads = [threading.Thread(target=work._train_next) for work in works[1:] for _ in range(2)]
    for thread in threads:
        thread.start()
    works[0].train(jobs=2)
    for thread in threads:
        thread.join()
    assert sorted(stage.started()) == sorted(run.name for run in runs)
    assert states(runs, stage.folder) == [FINISHED] * 4
    assert not any(work.failures for work in works)


def test_a_run_that_another_has_is_left_to_it(stage, runs):
    held = Leases(stage.folder / "locks", stale_after=0.5).take(runs[0].name)
    stop = threading.Event()

    def live():
        while not stop.wait(0.02):
            held.refresh()

    thread = threading.Thread(target=live)
    thread.start()
    work = Work(stage.folder, runs, stale_after=0.5)
    work.train()
    stop.set()
    thread.join()
    assert runs[0].name not in stage.started()
    assert f"process {os.getpid()}" in holder(stage.folder, runs[0])
    assert not work.failures
    held.release()
    Work(stage.folder, runs).train()
    assert stage.started()[-1] == runs[0].name
    assert holder(stage.folder, runs[0]) is None


def test_a_run_that_fails_does_not_end_the_others_and_is_tried_again(stage, runs):
    bad = runs[1].name
    stage.scripts[bad] = "echo warning; echo error: the loss is not finite; exit 1"
    work = Work(stage.folder, runs)
    work.train()
    assert work.failures == {bad: "the loss is not finite"}
    assert look(runs[1], stage.folder / bad).why == "the loss is not finite"
    assert states(runs, stage.folder).count(FINISHED) == 3
    del stage.scripts[bad]
    Work(stage.folder, runs).train()
    assert states(runs, stage.folder) == [FINISHED] * 4
    assert stage.started().count(bad) == 1
    assert len(stage.started()) == 4


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("kill -9 $$", "it was ended by SIGKILL, which is what a machine without memory left does"),
        ("echo Traceback; echo ' ValueError: no' >&2; exit 3", "ValueError: no (exit status 3)"),
        ("exit 0", "it printed nothing (exit status 0)"),
    ],
)
def test_the_reason_of_a_failure(stage, runs, script, why):
    stage.scripts[runs[0].name] = script
    work = Work(stage.folder, runs[:1])
    work.train()
    assert work.failures[runs[0].name].startswith(why)
    assert f"see {stage.folder / runs[0].name / 'log.txt'}" in work.failures[runs[0].name]


def test_what_fails_elsewhere_meanwhile_is_not_tried_again(stage, runs):
    folder = stage.folder / runs[0].name
    folder.mkdir()
    write_failure(folder, "before")
    work = Work(stage.folder, runs[:2])
    (stage.folder / runs[1].name).mkdir()
    write_failure(stage.folder / runs[1].name, "meanwhile")
    work.train()
    assert stage.started() == [runs[0].name]
    assert not (folder / FAILURE).exists()
    assert work.failures == {runs[1].name: "meanwhile"}


def test_results_that_were_cut_short_are_made_anew(stage, runs, capfd):
    finish(runs[0], stage.folder / runs[0].name)
    path = stage.folder / runs[0].name / "report" / "results.json"
    path.write_text(path.read_text()[:100])
    Work(stage.folder, runs[:1]).train()
    assert states(runs[:1], stage.folder) == [FINISHED]
    assert "results.json cannot be read" in capfd.readouterr().err


def test_a_run_with_other_settings_stays_as_it_is(stage, runs):
    other = stage.folder / runs[0].name
    shutil.copytree(stage.prepared / runs[1].name, other)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    work = Work(stage.folder, runs)
    work.train()
    assert "model.temporal_depth: 2 there, 1 now" in work.failures[runs[0].name]
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before
    assert states(runs, stage.folder).count(FINISHED) == 3


_STOPS = "trap 'echo saved >> {folder}/saved; exit 143' TERM; touch {folder}/begun; sleep 60 & wait"


def when(condition, action):
    def watch():
        until = time.monotonic() + 20
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_sigterm_is_passed_on_and_waited_for(stage, runs):
    stage.scripts[runs[0].name] = _STOPS
    begun = (stage.folder / "begun").exists
    thread = when(begun, lambda: os.kill(os.getpid(), signal.SIGTERM))
    work = Work(stage.folder, runs)
    with pytest.raises(Stopped):
        work.train()
    thread.join()
    assert (stage.folder / "saved").exists()
    assert stage.started() == []
    assert work.failures == {}
    assert list((stage.folder / "locks").iterdir()) == []
    del stage.scripts[runs[0].name]
    Work(stage.folder, runs).train()
    assert states(runs, stage.folder) == [FINISHED] * 4


def test_ctrl_c_ends_the_runs_well(stage, runs):
    stage.scripts[runs[0].name] = _STOPS
    thread = when((stage.folder / "begun").exists, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Work(stage.folder, runs).train()
    thread.join()
    assert (stage.folder / "saved").exists()


def test_a_run_that_is_another_ones_now_is_killed(stage, runs):
    name = runs[0].name
    stage.scripts[name] = "trap '' TERM; touch {folder}/begun; sleep 60 & wait; wait"
    locks = stage.folder / "locks"
    thread = when((stage.folder / "begun").exists, lambda: (locks / f"{name}.1").write_text("{}"))
    work = Work(stage.folder, runs[:1], stale_after=1.0)
    work.train()
    thread.join()
    assert "was taken by another process; it was stopped here" in work.failures[name]
    assert not (stage.folder / name / FAILURE).exists()
    assert (locks / f"{name}.1").exists()


def test_an_error_of_the_machine_ends_the_command(stage, runs):
    (stage.folder / runs[0].name).write_text("a file where a folder has to be")
    with pytest.raises(NotADirectoryError):
        Work(stage.folder, runs).train()
    assert list((stage.folder / "locks").iterdir()) == []


def test_without_main_py_it_says_so(stage, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(work_module, "_ROOT", tmp_path)
    with pytest.raises(UserError, match="has no main"):
        Work(stage.folder, runs)


def test_the_command_of_a_run_is_main_py(tmp_path, runs):
    folder, command = tmp_path / runs[0].name, Work(tmp_path, runs)._command(runs[0])
    assert command[:3] == [sys.executable, "-m", "mmadfer_jax.studies.child"]
    assert command[3].endswith("/main.py")
    assert command[4].endswith(f"/configs/saved.py:{folder}/settings.json")
    assert f"--workdir={folder}" in command
    assert "--processes=1" in command  # one of several tasks of a cluster trains a run alone
