import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource, ShardWriter
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluate import evaluate
from mmadfer_jax.train import train
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.log import HISTORY, TrainingLog
from mmadfer_jax.training.provenance import Provenance
from mmadfer_jax.training.setup import ModelSetup


def _params(workdir: Path) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(workdir)
    provenance = Provenance.from_dict(checkpoints.metadata())
    params = ModelSetup(provenance.config).restore(checkpoints, provenance)
    checkpoints.close()
    return {path: np.asarray(value) for path, value in params.items()}


@pytest.fixture(scope="module")
def finished_run(small_dataset, tmp_path_factory) -> Path:
    from conftest import small_settings

    workdir = tmp_path_factory.mktemp("run")
    train(small_settings(small_dataset), workdir)
    return workdir


def test_a_run_leaves_its_report(finished_run):
    results = json.loads((finished_run / "report" / "results.json").read_text())
    assert results["step"] == 4
    assert results["clips"] == np.sum(results["confusion_matrix"]) == 7
    assert results["settings"]["test_splits"] == ["test"]
    assert list(results["per_class_recall"]) == ["red", "green", "blue"]
    for figure in ("confusion_matrix.png", "curves.png"):
        assert (finished_run / "report" / figure).read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (finished_run / HISTORY).read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[-1]["test_uar"] == results["uar"]
    assert rows[-1]["test_war"] == results["war"]
    assert "fusion.0.image_gate" in (finished_run / "parameters.txt").read_text()
    assert list((finished_run / "tensorboard").glob("events.out.tfevents.*"))


def test_only_what_is_declared_trained_changes(finished_run, small_config):
    setup = ModelSetup(json.loads(small_config.to_json()))
    trainable, frozen, _, _ = setup.start()
    after = _params(finished_run)
    assert frozen.keys() | trainable.keys() == after.keys()
    for path, value in frozen.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)
    # Fusion is the identity at the first step, so what stands behind a gate learns from the second.
    unchanged = {path for path, value in trainable.items() if np.array_equal(after[path], value)}
    assert unchanged == {path for path in trainable if "_norm2." in path}


def test_a_killed_run_goes_on_to_the_same_numbers(
    finished_run, small_config, tmp_path, monkeypatch
):
    """Killed inside the second epoch, after a checkpoint and one more step."""
    small_config.checkpoint.every_steps = 1
    steps = []

    def die(self, step, metrics, learning_rate, _step=TrainingLog.step):
        _step(self, step, metrics, learning_rate)
        steps.append(step)
        if step == 3 and steps.count(3) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLog, "step", die)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, tmp_path)
    assert not (tmp_path / "report").exists()
    train(small_config, tmp_path)
    assert steps == [1, 2, 3, 3, 4]
    expected = _params(finished_run)
    for path, value in _params(tmp_path).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    assert (tmp_path / HISTORY).read_text() == (finished_run / HISTORY).read_text()


def test_a_finished_run_only_reports_again(finished_run, small_config, monkeypatch):
    before = (finished_run / "report" / "results.json").read_text()
    shutil.rmtree(finished_run / "report")
    monkeypatch.setattr(TrainingLog, "step", lambda *_: pytest.fail("trained again"))
    train(small_config, finished_run)
    assert (finished_run / "report" / "results.json").read_text() == before


@pytest.mark.parametrize("batch_size", [4, 8])
def test_evaluate_gives_the_results_of_training_whatever_the_padding(
    finished_run, small_config, tmp_path, batch_size
):
    """7 test clips: one padded row with batches of 4, or with one of 8."""
    shutil.copytree(finished_run, tmp_path / "copy")
    expected = json.loads((finished_run / "report" / "results.json").read_text())
    small_config.eval.batch_size = batch_size
    results = evaluate(small_config, tmp_path / "copy")
    assert results["confusion_matrix"] == expected["confusion_matrix"]
    assert results["uar"] == expected["uar"]


def test_a_checkpoint_of_other_settings_is_refused(finished_run, small_config):
    small_config.train.learning_rate = 0.5
    with pytest.raises(UserError, match=r"train\.learning_rate: 0\.001 there, 0\.5 now"):
        train(small_config, finished_run)


def test_data_prepared_otherwise_are_refused_unless_allowed(
    finished_run, small_config, small_dataset, tmp_path
):
    shutil.copytree(small_dataset, tmp_path / "data")
    info = DatasetInfo.load(small_dataset)
    settings = {**info.preparation, "sample_rate": 16000}
    DatasetInfo(info.name, info.classes, info.splits, 32, settings).save(tmp_path / "data")
    small_config.data.dir = str(tmp_path / "data")
    with pytest.raises(
        UserError, match="sample_rate: the data have 16000, the checkpoint 'native'"
    ):
        evaluate(small_config, finished_run)
    small_config.allow_mismatch = ("sample_rate",)
    assert evaluate(small_config, finished_run)["clips"] == 7


def test_classes_in_another_order_are_mapped_by_name_where_allowed(
    finished_run, small_config, small_dataset, tmp_path
):
    """The same clips under the classes' other order, labels changed accordingly."""
    expected = json.loads((finished_run / "report" / "results.json").read_text())
    info = DatasetInfo.load(small_dataset)
    order = ("blue", "red", "green")
    for split, count in info.splits.items():
        source = RecordSource(small_dataset, [split])
        with ShardWriter(tmp_path, split, 0, 1, "small") as writer:
            for i in range(count):
                record = source[i]
                label = order.index(info.classes[record.label])
                writer.write(dataclasses.replace(record, label=label))
    DatasetInfo("small", order, info.splits, 32, info.preparation).save(tmp_path)
    small_config.data.dir = str(tmp_path)
    with pytest.raises(UserError, match=r"only the order differs: with 'classes' in"):
        evaluate(small_config, finished_run)
    small_config.allow_mismatch = ("classes",)
    results = evaluate(small_config, finished_run)
    assert results["classes"] == expected["classes"]
    assert results["confusion_matrix"] == expected["confusion_matrix"]
    with pytest.raises(UserError, match="was trained on the classes red, green, blue"):
        train(small_config, finished_run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.num_classes": 7}, "num_classes is 7, but the dataset .* has 3: red, green, blue"),
        ({"data.dir": "nowhere"}, "nowhere is no prepared dataset"),
        ({"data.dir": ""}, "data.dir is empty"),
        ({"train.batch_size": 24}, "22 clips in train, fewer than one batch of 24"),
        ({"train.batch_size": 6}, "train.batch_size is 6; expected a multiple of 4"),
        ({"model.width": 25}, "width 25 is not a multiple of heads 3"),
        ({"model.dtype": "float16"}, "model.dtype is 'float16'"),
        ({"data.frame_order": "random"}, "config.data.frame_order is 'random'; expected one of"),
        ({"data.missing_sound": ""}, "config.data.missing_sound is ''"),
        ({"seed": -1}, "config.seed is -1"),
        ({"train.epochs": 0}, "config.train.epochs is 0"),
        ({"mesh.fsdp": 3}, "does not fit 4 device"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(small_config, tmp_path, change, message):
    small_config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        train(small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation_needs_a_checkpoint(small_config, tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        evaluate(small_config, tmp_path)


def test_a_corrupt_record_is_named(small_config, small_dataset, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "data")
    shard = next((tmp_path / "data").glob("small-train.tfrecord-00000*"))
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw)
    small_config.data.dir = str(tmp_path / "data")
    with pytest.raises(UserError, match=rf"{shard.name}: corrupt record at byte \d+, clip train_"):
        train(small_config, tmp_path / "run")


def test_a_full_disk_is_said_before_training(small_config, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(TrainingLog, "step", lambda *_: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"has 5 MB free and a checkpoint takes up to 1\d MB"):
        train(small_config, tmp_path)


def test_metadata_that_cannot_be_read_is_one_error(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoints" / "4" / "trainable")
    with pytest.raises(UserError, match="cannot be read"):
        _params(tmp_path / "copy")


def test_trained_weights_are_float32_and_frozen_ones_of_the_compute_type(small_config):
    small_config.model.dtype = "bfloat16"
    setup = ModelSetup(json.loads(small_config.to_json()))
    trainable, frozen, _, _ = setup.start()
    assert {value.dtype.name for value in trainable.values()} == {"float32"}
    assert {value.dtype.name for value in frozen.values()} == {"bfloat16"}
    assert all(isinstance(value, jax.Array) for value in frozen.values())
