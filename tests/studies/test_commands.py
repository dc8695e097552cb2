"""The commands with real training: killed, gone on by two at once, a failing arm, bad input."""

import json
import os
import subprocess
import sys
import time

import pytest

from mmadfer_jax import folds, study
from mmadfer_jax.training.checkpoints import Checkpoints
from tests.killing import ROOT
from tests.studying import write_folds_dataset

# ml_collections loads config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

_CONFIG = """
from tests.studying import tiny_settings


def get_config():
    config = tiny_settings({data!r})
    config.train.epochs = 15
    config.eval.every_epochs = 15
    config.checkpoint.every_steps = 2
    return config
"""
_STUDY = """
from mmadfer_jax.studies.plan import Arm, Study


def get_study():
    arms = (Arm("full"), Arm("no file", {{"init_from": "/nowhere.pth"}}))
    return Study("What fails", {config!r}, arms, folds=(1,))
"""
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
}
_STEPS = 30


class Place:
    """A folder with data, a config, a study, and the commands over them."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        write_folds_dataset(self.data, 2)
        self.config, self.study = folder / "config.py", folder / "study.py"
        self.config.write_text(_CONFIG.format(data=str(self.data)))
        self.study.write_text(_STUDY.format(config=str(self.config)))
        self.runs = folder / "runs"
        self.environment = {**_ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}

    def arguments(self, verb, *flags):
        first = str(self.study) if verb is study else f"--config={self.config}"
        return [first, f"--workdir={self.runs}", *flags]

    def start_folds(self):
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "mmadfer_jax.folds", *self.arguments(folds)],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self, run):
        path = self.runs / run / "log.txt"
        return path.read_text() if path.exists() else ""

    def results(self):
        return json.loads((self.runs / "report" / "results.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("commands"))


@pytest.fixture
def run(place, monkeypatch, capfd):
    """Calls a command in this process: its exit status, stdout and stderr."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)

    def call(verb, *flags):
        monkeypatch.setattr(sys, "argv", ["command", *place.arguments(verb, *flags)])
        code = 0
        try:
            verb.main()
        except SystemExit as end:
            code = end.code
        return (code, *capfd.readouterr())

    return call


def test_folds_are_killed_and_gone_on_by_two_commands(place):
    first, end = place.start_folds(), time.monotonic() + 600
    while "step 3/" not in place.log("fold1"):
        assert time.monotonic() < end
        time.sleep(0.01)
    first.kill()  # what it had started ends by itself, and saves
    first.communicate()
    both = [place.start_folds() for _ in range(2)]
    ends = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    starts = {fold: place.log(fold).count("# ") for fold in ("fold1", "fold2")}
    assert starts == {"fold1": 2, "fold2": 1}  # the first one once more, after the kill
    assert "going on after step" in place.log("fold1")
    assert "error:" not in place.log("fold1") + place.log("fold2")
    assert list((place.runs / "locks").iterdir()) == []
    results = place.results()
    assert [run["state"] for run in results["folds"]] == ["finished"] * 2
    assert results["all"]["pooled"]["clips"] == 16
    assert results["all"]["clips_per_second"] > 0
    for fold in ("fold1", "fold2"):
        with Checkpoints(place.runs / fold) as checkpoints:
            assert checkpoints.latest_step() == _STEPS


def test_finished_folds_are_skipped_and_only_reported(place, run):
    code, out, err = run(folds, "--only=2")
    assert (code, out.splitlines()[0]) == (0, "2 of 2 runs are finished")
    assert "fold2: finished, UAR" in err
    assert "fold1" not in err
    (place.runs / "report" / "results.json").unlink()
    assert run(folds, "--report")[0] == 0
    assert place.results()["all"]["uar"]["n"] == 2


def test_changed_settings_are_told_and_not_mixed_in(place, run):
    before = place.log("fold1")
    code, out, err = run(folds, "--config.train.learning_rate=0.5")
    assert (code, out) == (1, "0 of 2 runs are finished\n")
    assert "fold1: failed: " in err
    assert "train.learning_rate: 0.001 there, 0.5 now" in err
    assert place.log("fold1") == before


def test_an_arm_that_fails_is_a_gap_and_the_others_go_on(place, run):
    code, out, err = run(study)
    assert code == 1
    assert "1 of 2 runs are finished" in out
    assert "no_file-fold1-seed0: failed: " in err
    text = (place.runs / "report" / "report.md").read_text()
    assert "| full | 1 |" in text
    assert "| no file | 0 of 1 | " in text
    assert "- `no_file-fold1-seed0`: " in text
    assert "/nowhere.pth" in text
    code, _, err = run(study, "--only=full")
    assert code == 0
    assert place.log("full-fold1-seed0").count("# ") == 1


def test_list_names_a_command_for_each_run(place, run):
    code, out, _ = run(study, "--list", "--jobs", "2", "--seeds=0,1")
    assert code == 0
    assert out.splitlines() == [
        f"python -m mmadfer_jax.study {place.study} --workdir={place.runs} --seeds=0,1 --run={name}"
        for seed in (0, 1)
        for name in (f"full-fold1-seed{seed}", f"no_file-fold1-seed{seed}")
    ]
    code, out, _ = run(folds, "--list", "--only", "2")
    command = "python -m mmadfer_jax.folds"
    assert out == f"{command} --config={place.config} --workdir={place.runs} --only=2\n"


@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        (folds, ("--config.nothing=1",), "--config has no setting nothing"),
        (folds, ("--config.seed=x",), "invalid literal"),
        (folds, ("--only=7",), "no fold '7'; there are 1, 2"),
        (folds, ("--jobs=0",), "--jobs=0; expected 1 or more"),
        (folds, ("--stale_after=1",), "expected 60 or more"),
        (folds, ("--bogus",), "Unknown command line flag 'bogus'"),
        (folds, ("--workdir=gs://bucket/x",), "lie on a disk"),
        (study, ("--only=a",), "no arm 'a'; the study has full, no file"),
        (study, ("--run=a",), "no run 'a'; --list lists all"),
        (study, ("--folds=9",), "no fold 9 in dataset small; it has 1 to 2"),
        (study, ("more",), "unexpected arguments ['more']"),
        (study, ("--config=no.py",), "No such file or directory: 'no.py'"),
    ],
)
def test_bad_flags_are_one_line(run, verb, flags, message):
    error, out, _ = run(verb, *flags)
    assert out == ""
    assert error.startswith("error: ")
    assert message in error
    assert "\n" not in error
