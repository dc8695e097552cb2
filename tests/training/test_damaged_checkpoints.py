"""What is damaged on the disk after a run, or between two starts of it."""

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from mmadfer_jax import predict
from mmadfer_jax.errors import UserError
from mmadfer_jax.train import train
from mmadfer_jax.trained import load_model
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.log import HISTORY, TrainingLog
from mmadfer_jax.training.program import Program, TrainState
from mmadfer_jax.training.sharding import make_mesh
from tests.conftest import small_settings

NEWEST, BEFORE = 4, 2  # the steps of the two checkpoints of a small run


@pytest.fixture(scope="module")
def run(small_dataset, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    train(small_settings(small_dataset), workdir)
    return workdir


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def checkpoint(workdir: Path, step: int = NEWEST) -> Path:
    return workdir / "checkpoints" / str(step)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, every folder with None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def read() -> Callable[[Path], tuple[int, TrainState, tuple[str, ...]]]:
    """Reads all arrays of the newest whole checkpoint: its step, the state, what is said of it."""
    programs = {}

    def state(workdir: Path) -> tuple[int, TrainState, tuple[str, ...]]:
        with Checkpoints(workdir) as checkpoints:

            def restore(saved):
                if not programs:
                    mesh = make_mesh(devices=jax.devices()[:1])
                    programs[0] = Program(saved.card.training["config"], mesh).abstract_state()
                return checkpoints.state(saved, programs[0])

            saved, found = checkpoints.newest(restore)
            return saved.step, jax.device_get(found), checkpoints.passed_over()

    return state


@pytest.fixture(scope="module")
def states(run, read, tmp_path_factory) -> dict[int, TrainState]:
    """What was saved, by step."""
    older = Path(shutil.copytree(run, tmp_path_factory.mktemp("older") / "run"))
    shutil.rmtree(checkpoint(older))
    return {NEWEST: read(run)[1], BEFORE: read(older)[1]}


def is_same(state: TrainState, other: TrainState) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(other)))


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in files_of(folder):
            path.write_bytes(change(path.read_bytes()))

    return damage


def delete(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = list(folder.rglob(name))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = {
    "cut to half": rewrite(lambda data: data[: len(data) // 2]),
    "cut to nothing": rewrite(lambda data: b""),
    "zeros": rewrite(lambda data: bytes(len(data))),
    "without trainable": delete("trainable"),
    "without opt_state": delete("opt_state"),
    "without run": delete("run"),
    "without the description": delete("metadata"),
    "without _METADATA": delete("_METADATA"),
    "without manifests": delete("manifest.ocdbt"),
    "without the data": delete("d"),
    "an empty folder": empty,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_reading_passes_over_a_damaged_checkpoint_says_so_and_changes_nothing(
    copy, read, states, damage, capfd, caplog
):
    damage(checkpoint(copy))
    before = contents(copy)
    step, state, said = read(copy)
    assert step == BEFORE
    assert is_same(state, states[BEFORE])
    (note,) = said
    assert note.startswith("the checkpoint of step 4 is damaged, the one before it is taken: it")
    assert "\n" not in note
    assert contents(copy) == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def no_metadata_of_orbax(folder: Path) -> None:
    for name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
        delete(name)(folder)


def stray_files(folder: Path) -> None:
    for parent in (folder, folder / "trainable", folder.parent):
        (parent / ".DS_Store").write_bytes(b"\0")
        (parent / "notes (1).txt").write_text("mine")
    (folder.parent / "copy of 4").mkdir()
    (folder.parent / "9").write_text("a file")
    shutil.copytree(folder, folder.parent / "6.orbax-checkpoint-tmp-0")


@pytest.mark.parametrize("change", [no_metadata_of_orbax, stray_files])
def test_what_holds_no_value_may_be_missing_or_too_much(copy, read, states, change, capfd):
    change(checkpoint(copy))
    step, state, said = read(copy)
    assert (step, said) == (NEWEST, ())
    assert is_same(state, states[NEWEST])
    assert capfd.readouterr() == ("", "")


def test_a_run_goes_on_and_saves_beside_stray_files(copy, read, states, small_config):
    stray_files(checkpoint(copy))
    shutil.rmtree(checkpoint(copy))
    train(small_config, copy)
    step, state, said = read(copy)
    assert (step, said) == (NEWEST, ())
    assert is_same(state, states[NEWEST])
    left = {path.name for path in (copy / "checkpoints").iterdir()}
    assert left == {"2", "4", "9", ".DS_Store", "notes (1).txt", "copy of 4"}


def test_no_flipped_bit_loads_other_values(copy, read, states):
    """40 files at random, a bit each, of all that lie in the newest checkpoint."""
    rng, paths, steps = random.Random(0), files_of(checkpoint(copy)), []
    for _ in range(40):
        path = rng.choice(paths)
        whole = path.read_bytes()
        spoiled = bytearray(whole)
        place = rng.randrange(len(whole))
        spoiled[place] ^= 1 << rng.randrange(8)
        path.write_bytes(spoiled)
        step, state, said = read(copy)
        where = f"byte {place} of {path}"
        assert is_same(state, states[step]), where
        assert bool(said) == (step == BEFORE), where
        path.write_bytes(whole)
        steps.append(step)
    assert set(steps) == {BEFORE, NEWEST}


def results(workdir: Path) -> dict[str, object]:
    report = json.loads((workdir / "report" / "results.json").read_text())
    del report["settings"]["model"]  # the directory's name
    return {
        "report": report,
        "history": (workdir / HISTORY).read_text(),
        "predictions": (workdir / "report" / "predictions.csv").read_text(),
    }


@pytest.mark.parametrize("name", ["cut to half", "without manifests"])
def test_training_goes_on_from_the_checkpoint_before_to_the_same_numbers(
    run, copy, read, states, small_config, monkeypatch, capfd, caplog, name
):
    DAMAGES[name](checkpoint(copy))
    spoiled = contents(checkpoint(copy))
    steps, take = [], TrainingLog.step
    monkeypatch.setattr(
        TrainingLog, "step", lambda self, step, *rest: (steps.append(step), take(self, step, *rest))
    )
    train(small_config, copy)
    assert steps == [3, 4]
    (aside,) = (copy / "damaged").iterdir()
    assert contents(aside) == spoiled  # nothing is lost
    error = capfd.readouterr().err
    assert f"; it now lies in {aside}\n" in error
    (note,) = [line for line in error.splitlines() if line.startswith("note:")]
    assert "the checkpoint of step 4 is damaged, the one before it is taken" in note
    assert "Traceback" not in error
    assert not caplog.records
    assert results(copy) == results(run)
    step, state, said = read(copy)
    assert (step, said) == (NEWEST, ())
    assert is_same(state, states[NEWEST])


def test_without_a_whole_checkpoint_every_command_says_what_to_do(
    copy, small_config, monkeypatch, capfd
):
    for step, name in ((NEWEST, "cut to half"), (BEFORE, "zeros")):
        DAMAGES[name](checkpoint(copy, step))
    before = contents(copy)
    message = (
        r"no checkpoint in .* can be read \(step 4: it .*; step 2: it .*\); copy the run again"
    )
    for command in (lambda: train(small_config, copy), lambda: load_model(copy)):
        with pytest.raises(UserError, match=message) as error:
            command()
        assert "\n" not in str(error.value)
    monkeypatch.setattr(sys, "argv", ["predict", str(copy), f"--checkpoint={copy}"])
    with pytest.raises(SystemExit, match=f"error: {message}"):
        predict.main()
    assert contents(copy) == before
    assert capfd.readouterr() == ("", "")


def test_a_model_says_that_its_newest_checkpoint_was_damaged(copy):
    DAMAGES["without trainable"](checkpoint(copy))
    model = load_model(copy)
    assert model.step == BEFORE
    assert len(model.history) == 1
    (note,) = model.notes
    assert "the checkpoint of step 4 is damaged, the one before it is taken" in note


def test_what_a_reader_does_not_need_may_be_damaged(copy):
    """The optimizer's state is for training alone."""
    DAMAGES["without opt_state"](checkpoint(copy))
    assert load_model(copy).step == NEWEST


def test_a_device_without_memory_left_damages_no_checkpoint(copy, small_config, monkeypatch):
    before = contents(copy)

    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    with Checkpoints(copy) as checkpoints:
        manager = type(checkpoints._manager)
    monkeypatch.setattr(manager, "restore", lambda *_, **__: refuse())
    with pytest.raises(UserError, match=r"out of memory: lower config\.train\.batch_size"):
        train(small_config, copy)
    assert contents(copy) == before


def test_a_history_that_was_cut_is_written_anew(run, copy, small_config):
    history = copy / HISTORY
    whole = history.read_bytes()
    history.write_bytes(b"\xff\0garbage\n" + whole[: -len(whole) // 3])  # ends in half a line
    (copy / f".{HISTORY}.0123456789ab.tmp").write_bytes(whole[:9])  # of a killed process
    train(small_config, copy)
    assert history.read_bytes() == (run / HISTORY).read_bytes()
    assert not list(copy.rglob("*.tmp"))


def test_no_file_of_a_run_holds_a_bare_nan(run):
    def refuse(constant: str):
        raise AssertionError(constant)

    parsed = []
    for path in files_of(run):
        text = path.read_bytes()
        if not text.startswith((b"{", b"[")):
            continue
        for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(line, parse_constant=refuse)
        parsed.append(path.name)
    assert {"card.json", "results.json", HISTORY, "metadata", "_METADATA"} <= set(parsed)
