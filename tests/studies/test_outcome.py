import json

import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.studies.outcome import CUT, FAILED, FINISHED, OPEN, OTHER, look, write_failure
from mmadfer_jax.studies.plan import Arm, Study, plan_study
from tests.studying import finish, tiny_settings, write_folds_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folds_dataset(folder, 2)
    return folder


@pytest.fixture
def runs(dataset):
    """The full model on both folds, and an arm on both."""
    arms = (Arm("full"), Arm("deeper", {"model.temporal_depth": 2}))
    study = Study("A question", "config.py", arms)
    return plan_study(study, tiny_settings(dataset)).runs


@pytest.fixture
def run(runs):
    return runs[0]


def test_a_run_that_was_not_begun_is_open(run, tmp_path):
    assert look(run, tmp_path / "run").state == OPEN


def test_a_finished_run_shows_its_figures(run, tmp_path):
    history = [{"epoch": 1, "test_uar": 0.5}, {"epoch": 2}]
    finish(run, tmp_path, (3, 0, 2), history=history, speeds=(1.5, 9.0, 4.0))
    found = look(run, tmp_path)
    assert (found.state, found.why) == (FINISHED, "")
    assert found.recalls() == [1.0, 0.0, 1.0]  # of 3, 3 and 2 clips
    assert found.results["war"] == 5 / 8
    assert found.history == tuple(history)
    assert found.speed == 4.0
    assert found.card.data["test"]["clips"] == 8


def test_a_run_that_was_evaluated_on_its_way_is_open(run, tmp_path):
    finish(run, tmp_path, step=2)
    assert look(run, tmp_path).state == OPEN


@pytest.mark.parametrize("kept", [0, 20, 400, -3])
def test_results_that_were_cut_short_are_no_results(run, tmp_path, kept):
    finish(run, tmp_path)
    path = tmp_path / "report" / "results.json"
    path.write_bytes(path.read_bytes()[:kept])
    found = look(run, tmp_path)
    assert found.state == CUT
    assert f"{path} cannot be read" in found.why


@pytest.mark.parametrize(
    ("name", "value"),
    [("uar", 1.5), ("war", None), ("confusion_matrix", [[1]]), ("per_class_recall", {"red": 1.0})],
)
def test_results_that_lack_a_figure_are_no_results(run, tmp_path, name, value):
    finish(run, tmp_path)
    path = tmp_path / "report" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    assert look(run, tmp_path).state == CUT


def test_a_history_that_was_cut_short_costs_no_results(run, tmp_path):
    finish(run, tmp_path, history=[{"epoch": 1}])
    (tmp_path / "metrics.jsonl").write_text('{"epo')
    found = look(run, tmp_path)
    assert (found.state, found.history) == (FINISHED, ())


@pytest.mark.parametrize("begun_only", [False, True])
def test_a_run_with_other_settings_is_told(runs, tmp_path, begun_only):
    finish(runs[1], tmp_path)
    if begun_only:
        (tmp_path / "report" / "results.json").unlink()
    found = look(runs[0], tmp_path)
    assert found.state == OTHER
    assert "model.temporal_depth: 2 there, 1 now" in found.why


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("epochs", 3, "train.epochs: 2 there, 3 now"), ("batch_size", 2, "train.batch_size: 4 there")],
)
def test_what_a_run_may_change_is_no_part_of_the_same_study(run, tmp_path, name, value, message):
    finish(run, tmp_path)
    run.config.train[name] = value
    found = look(run, tmp_path)
    assert found.state == OTHER
    assert message in found.why


def test_settings_that_move_no_number_may_change(run, tmp_path):
    finish(run, tmp_path)
    run.config.compute.remat, run.config.checkpoint.keep = "layers", 5
    run.config.eval.every_epochs = 2
    assert look(run, tmp_path).state == FINISHED


def test_a_run_on_other_data_is_told(runs, tmp_path):
    finish(runs[2], tmp_path / "fold2")
    assert "data.fold: 2 there, 1 now" in look(runs[0], tmp_path / "fold2").why
    finish(runs[0], tmp_path / "run")
    (tmp_path / "data").mkdir()
    write_folds_dataset(tmp_path / "data", 3)
    runs[0].config.data.dir = str(tmp_path / "data")
    found = look(runs[0], tmp_path / "run")
    assert found.state == OTHER
    assert "train.clips: 8 there, 16 now" in found.why


def test_a_failure_is_remembered_until_the_run_ends_well(run, tmp_path):
    write_failure(tmp_path, "no memory")
    assert (look(run, tmp_path).state, look(run, tmp_path).why) == (FAILED, "no memory")
    (tmp_path / "failure.json").write_text("{")
    assert look(run, tmp_path).why == "unknown"
    finish(run, tmp_path)
    assert look(run, tmp_path).state == FINISHED


def test_data_that_are_gone_are_an_error(run, tmp_path):
    finish(run, tmp_path)
    run.config.data.dir = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no prepared dataset"):
        look(run, tmp_path)
