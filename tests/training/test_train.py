import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from mmadfer_jax import files
from mmadfer_jax.data import records
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource, ShardWriter
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluate import evaluate_run
from mmadfer_jax.train import train
from mmadfer_jax.trained import load_model
from mmadfer_jax.training import program as programs
from mmadfer_jax.training.log import HISTORY, TrainingLog
from mmadfer_jax.training.optimizer import split
from mmadfer_jax.weights.initial import initial_params
from tests.conftest import SMALL, small_settings
from tests.programs import program_of


def params_of(workdir: Path) -> dict[str, np.ndarray]:
    return load_model(workdir).params


def assert_same_params(workdir: Path, other: Path):
    found, expected = params_of(workdir), params_of(other)
    assert found.keys() == expected.keys()
    for path, value in found.items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)


@pytest.fixture(scope="module")
def finished_run(small_dataset, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    train(small_settings(small_dataset), workdir)
    return workdir


@pytest.fixture
def copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run that may be spoiled."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


def results_of(workdir: Path) -> dict:
    return json.loads((workdir / "report" / "results.json").read_text())


def test_a_run_leaves_its_report(finished_run):
    results = results_of(finished_run)
    assert results["step"] == 4
    assert results["clips"] == np.sum(results["confusion_matrix"]) == 7
    assert results["settings"]["data"]["test"]["splits"] == ["test"]
    assert list(results["per_class_recall"]) == ["red", "green", "blue"]
    for figure in ("confusion_matrix.png", "curves.png"):
        assert (finished_run / "report" / figure).read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (finished_run / HISTORY).read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[-1]["test_uar"] == results["uar"]
    assert rows[-1]["test_war"] == results["war"]
    assert "fusion.0.image_gate" in (finished_run / "parameters.txt").read_text()
    assert list((finished_run / "tensorboard").glob("events.out.tfevents.*"))
    assert not (finished_run / files.LOCK).exists()
    card = json.loads((finished_run / "card.json").read_text())
    assert card["figures"]["test_uar"] == results["uar"]
    assert card["training"]["config"]["train"]["steps_per_epoch"] == 2


def test_every_prediction_of_the_test_is_listed(finished_run, small_dataset):
    lines = (finished_run / "report" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "clip,true,predicted,p(red),p(green),p(blue)"
    rows = [line.split(",") for line in lines[1:]]
    source = RecordSource(small_dataset, ["test"])
    assert [row[0] for row in rows] == source.ids
    names = ("red", "green", "blue")
    assert [row[1] for row in rows] == [names[label] for label in source.labels]
    shares = np.array([row[3:] for row in rows], float)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert [row[2] for row in rows] == [names[i] for i in shares.argmax(axis=1)]
    hits = np.mean([row[1] == row[2] for row in rows])
    assert hits == pytest.approx(results_of(finished_run)["war"])


def test_only_what_is_declared_trained_changes(finished_run, small_config):
    before, _ = initial_params(SMALL, seed=small_config.seed)
    trainable, frozen = split(before, program_of(SMALL).labels)
    after = params_of(finished_run)
    assert before.keys() == after.keys()
    for path, value in frozen.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)
    # Fusion is the identity at the first step, so what stands behind a gate learns from the second.
    unchanged = {path for path, value in trainable.items() if np.array_equal(after[path], value)}
    assert unchanged == {path for path in trainable if "_norm2." in path}


def interrupt_after(monkeypatch, wanted: int) -> list[int]:
    """Ends a run after a step; returns the list of the steps that were logged."""
    steps = []

    def die(self, step, metrics, learning_rate, _step=TrainingLog.step):
        _step(self, step, metrics, learning_rate)
        steps.append(step)
        if step == wanted and steps.count(wanted) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingLog, "step", die)
    return steps


def test_a_run_goes_on_inside_an_epoch_to_the_same_numbers(small_config, tmp_path, monkeypatch):
    """Five steps an epoch, ended after the eighth; the newest checkpoint is that of the seventh."""
    small_config.train.batch_size = 4
    train(small_config, tmp_path / "whole")
    small_config.checkpoint.every_steps = 7
    steps = interrupt_after(monkeypatch, 8)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, tmp_path / "ended")
    assert not (tmp_path / "ended" / "report").exists()
    train(small_config, tmp_path / "ended")
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10]
    assert_same_params(tmp_path / "ended", tmp_path / "whole")
    for file in (HISTORY, "report/predictions.csv"):
        assert (tmp_path / "ended" / file).read_text() == (tmp_path / "whole" / file).read_text()


def test_a_finished_run_only_reports_again(finished_run, small_config, monkeypatch):
    before = results_of(finished_run)
    shutil.rmtree(finished_run / "report")
    monkeypatch.setattr(TrainingLog, "step", lambda *_: pytest.fail("trained again"))
    train(small_config, finished_run)
    assert results_of(finished_run) == before


@pytest.mark.parametrize("batch_size", [4, 8])
def test_evaluate_gives_the_results_of_training_whatever_the_padding(
    finished_run, small_config, copy, batch_size
):
    """7 test clips: one padded row with batches of 4, or with one of 8."""
    small_config.eval.batch_size = batch_size
    results = evaluate_run(small_config, copy)
    expected = results_of(finished_run)
    assert results["confusion_matrix"] == expected["confusion_matrix"]
    assert results["uar"] == expected["uar"]


def test_a_run_of_other_settings_is_refused(finished_run, small_config):
    small_config.train.learning_rate = 0.5
    for command in (train, evaluate_run):
        with pytest.raises(UserError, match=r"train\.learning_rate: 0\.001 there, 0\.5 now"):
            command(small_config, finished_run)


def test_data_prepared_otherwise_are_refused_unless_allowed(
    copy, small_config, small_dataset, tmp_path
):
    shutil.copytree(small_dataset, tmp_path / "data")
    info = DatasetInfo.load(small_dataset)
    settings = {**info.preparation, "sample_rate": 16000}
    DatasetInfo(info.name, info.classes, info.splits, 32, settings).save(tmp_path / "data")
    small_config.data.dir = str(tmp_path / "data")
    for command in (train, evaluate_run):
        with pytest.raises(UserError, match="sample_rate: the data have 16000, the model 'native'"):
            command(small_config, copy)
    small_config.allow_mismatch = ("sample_rate",)
    assert evaluate_run(small_config, copy)["clips"] == 7


def relabelled(dataset: Path, folder: Path, order: tuple[str, ...]) -> Path:
    """The same clips under the classes' other order, labels changed accordingly."""
    info = DatasetInfo.load(dataset)
    folder.mkdir()
    for split_name, count in info.splits.items():
        source = RecordSource(dataset, [split_name])
        with ShardWriter(folder, split_name, 0, 1, "small") as writer:
            for i in range(count):
                record = source[i]
                label = [name.lower() for name in order].index(info.classes[record.label])
                writer.write(dataclasses.replace(record, label=label))
    DatasetInfo("small", order, info.splits, 32, info.preparation).save(folder)
    return folder


def test_classes_in_another_order_are_mapped_by_name_and_not_trained_on(
    finished_run, small_config, small_dataset, tmp_path, copy, capsys
):
    expected = results_of(finished_run)
    data = relabelled(small_dataset, tmp_path / "data", ("Blue", "RED", "green"))
    small_config.data.dir = str(data)
    results = evaluate_run(small_config, copy)
    assert results["classes"] == expected["classes"]
    assert results["confusion_matrix"] == expected["confusion_matrix"]
    assert "Blue -> blue, RED -> red, green -> green" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"data are not those of the run.*classes: \['red', 'gree"):
        train(small_config, copy)


def test_a_dataset_with_one_clip_more_is_refused_by_name(
    copy, small_config, small_dataset, tmp_path
):
    data = Path(shutil.copytree(small_dataset, tmp_path / "data"))
    record = RecordSource(small_dataset, ["train"])[0]
    for number in range(2):
        source = RecordSource(small_dataset, ["train"])
        mine = [source[i] for i in range(number * 11, number * 11 + 11)]
        with ShardWriter(data, "train", number, 2, "small") as writer:
            for clip in [*mine, *([dataclasses.replace(record, id="new")] if number else [])]:
                writer.write(clip)
    small_config.data.dir = str(data)
    with pytest.raises(UserError, match=r"train\.clips: 22 there, 23 now; train\.sha256") as error:
        train(small_config, copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.dir": "nowhere"}, "nowhere is no prepared dataset"),
        ({"data.dir": ""}, "data.dir is empty"),
        ({"train.batch_size": 24}, "22 clips in train, fewer than one batch of 24"),
        ({"train.batch_size": 6}, "the batch size is 6; expected a multiple"),
        ({"eval.batch_size": 6}, "the batch size is 6; expected a multiple"),
        ({"model.image.width": 25}, "model.image: width 25 is not a multiple of heads 3"),
        ({"model.audio.shape": (64, 64)}, "prepared spectrograms have 128 mel bins"),
        ({"model.dtype": "float16"}, "model.dtype is 'float16'"),
        ({"data.frame_order": "random"}, "config.data.frame_order is 'random'; expected one of"),
        ({"data.missing_sound": ""}, "config.data.missing_sound is ''"),
        ({"seed": -1}, "config.seed is -1"),
        ({"train.epochs": 0}, "config.train.epochs is 0"),
        ({"mesh.fsdp": 3}, "does not fit 4 device"),
        ({"freeze": ((".*", "frozen"),)}, "config.freeze leaves nothing to train"),
        ({"init_from": "a", "image_weights": "b"}, "init_from and config.image_weights are both"),
        ({"init_from": "nowhere.pth"}, "no such file: nowhere.pth"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(small_config, tmp_path, change, message):
    small_config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        train(small_config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").is_dir() or not any(
        (tmp_path / "run" / "checkpoints").iterdir()
    )


@pytest.mark.parametrize("workdir", ["https://host/run", "s3://bucket/run"])
def test_a_work_directory_behind_a_url_that_orbax_does_not_write_is_refused(
    small_config, workdir, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for command in (train, evaluate_run):
        with pytest.raises(UserError, match=r"can lie on a disk, or behind gs://, to which"):
            command(small_config, workdir)
    assert not list(tmp_path.iterdir())


def test_evaluation_needs_a_checkpoint(small_config, tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        evaluate_run(small_config, tmp_path)


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


def test_the_second_command_on_a_work_directory_says_who_holds_it(small_config, copy):
    with files.lock(copy):
        for command in (train, evaluate_run):
            with pytest.raises(UserError, match=r"is in use by process \d+ on .*: "):
                command(small_config, copy)
    train(small_config, copy)


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_is_overwritten(
    small_config, small_dataset, tmp_path, monkeypatch
):
    """The sixth batch holds a clip that makes the loss infinite."""
    small_config.train.update({"batch_size": 4, "epochs": 2})
    small_config.checkpoint.every_steps = 3
    small_config.log_every_steps = 100  # so that it is found where the run saves

    def spoil(frames, key, size, config, _augment=programs.augment):
        return jax.numpy.where(spoil.step == STEP_OF_SPOILING, np.nan, 1) * _augment(
            frames, key, size, config
        )

    step_of = programs.Program._train_step

    def counting(self, state, frozen, batch, key):
        spoil.step = state.step
        return step_of(self, state, frozen, batch, key)

    monkeypatch.setattr(programs.Program, "_train_step", counting)
    monkeypatch.setattr(programs, "augment", spoil)
    with pytest.raises(UserError) as error:
        train(small_config, tmp_path)
    text = str(error.value)
    assert "loss and grad_norm of step 6 are not finite" in text
    assert text.count("train_") == 4  # the batch's clips
    assert "Last good: the checkpoint of step 5" in text
    assert "\n" not in text
    assert "NaN" not in (tmp_path / HISTORY).read_text()
    monkeypatch.undo()
    saved = load_model(tmp_path)
    assert saved.step == 5
    assert all(np.isfinite(x).all() for x in saved.params.values())


STEP_OF_SPOILING = 5  # steps taken before it


def test_the_loop_waits_for_nothing_and_compiles_once(small_config, tmp_path, monkeypatch):
    """No implicit transfer between host and device, and one program a step."""
    made, guard = [], jax.transfer_guard("disallow")
    monkeypatch.setattr(programs.Program, "__init__", _recorded(made, programs.Program.__init__))
    start, close = TrainingLog.__init__, TrainingLog.close

    def guarded(self, *arguments, **options):  # the last step before the loop
        start(self, *arguments, **options)
        guard.__enter__()

    def unguarded(self):
        guard.__exit__(None, None, None)
        close(self)

    monkeypatch.setattr(TrainingLog, "__init__", guarded)
    monkeypatch.setattr(TrainingLog, "close", unguarded)
    small_config.log_every_steps = 3
    train(small_config, tmp_path)
    (program,) = made
    assert program.train_step._cache_size() == 1
    assert program.eval_step._cache_size() == 1


def _recorded(made, init):
    def record(self, *arguments):
        init(self, *arguments)
        made.append(self)

    return record


def test_trained_weights_are_float32_and_frozen_ones_of_the_type_they_are_used_in():
    program = program_of(dataclasses.replace(SMALL, dtype="bfloat16"))
    assert {x.dtype.name for x in program.abstract_trainable().values()} == {"float32"}
    stored = {path: x.dtype.name for path, x in program.abstract_frozen().items()}
    assert {path for path, dtype in stored.items() if dtype == "float32"} == {
        path for path in stored if "norm" in path or path.endswith("_token")
    }
    assert "bfloat16" in stored.values()


def test_more_epochs_go_on_and_fewer_than_begun_are_refused(small_config, copy, capsys):
    small_config.train.epochs = 1
    with pytest.raises(UserError, match=r"train\.epochs: 2 there, 1 now, but 2 are begun"):
        train(small_config, copy)
    small_config.train.epochs = 3
    results = train(small_config, copy)
    assert results["step"] == 6
    assert "the cosine is that of 3 epochs" in capsys.readouterr().err
    rows = [json.loads(line) for line in (copy / HISTORY).read_text().splitlines()]
    rates = [1e-3 / 2 * (1 + np.cos(np.pi * e / n)) for e, n in ((0, 2), (1, 2), (2, 3))]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rates, rtol=1e-6)


def test_another_batch_size_goes_on_between_epochs_and_not_inside_one(
    small_config, copy, capsys, tmp_path, monkeypatch
):
    small_config.train.update({"batch_size": 4, "epochs": 3})
    results = train(small_config, copy)
    assert results["step"] == 4 + 5
    assert "train.batch_size: 8 there, 4 now; from epoch 3 on" in capsys.readouterr().err
    rows = [json.loads(line) for line in (copy / HISTORY).read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4), (3, 9)]
    small_config.checkpoint.every_steps = 3
    interrupt_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, tmp_path / "inside")
    small_config.train.batch_size = 8
    with pytest.raises(UserError, match=r"stands inside epoch 1, after step 3; only between"):
        train(small_config, tmp_path / "inside")


def test_a_run_goes_on_on_another_number_of_devices(
    small_config, copy, small_dataset, tmp_path, capsys
):
    """A checkpoint of four devices goes on on a mesh of another shape, to the same losses."""
    small_config.train.epochs = 3
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    train(small_config, copy)
    small_config.mesh.update({"fsdp": 2, "tensor": 2})
    rules = ((r".*\.fc1\.kernel", ("fsdp", "tensor")), (".*", ()))
    small_config.sharding = rules
    capsys.readouterr()
    train(small_config, other)
    assert re.search(r"optimizer: 0\.\d MB a device, of 0\.\d MB", capsys.readouterr().err)
    losses = [
        [json.loads(line)["train_loss"] for line in (run / HISTORY).read_text().splitlines()]
        for run in (copy, other)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_a_whole_model_can_be_trained_on(finished_run, small_config, small_dataset, tmp_path):
    small_config.init_from = str(finished_run)
    train(small_config, tmp_path / "same")
    card = load_model(tmp_path / "same").card
    assert card.sources["init_from"] == str(finished_run)
    # Its steps began where the other run ended: at its accuracy, not at that of chance.
    first = json.loads((tmp_path / "same" / HISTORY).read_text().splitlines()[0])
    other = [json.loads(line) for line in (finished_run / HISTORY).read_text().splitlines()]
    assert first["train_loss"] < other[0]["train_loss"]


def test_other_classes_get_a_new_classifier(
    finished_run, small_config, small_dataset, tmp_path, capsys
):
    info = DatasetInfo.load(small_dataset)
    data = Path(shutil.copytree(small_dataset, tmp_path / "data"))
    small_config.data.dir, small_config.init_from = str(data), str(finished_run)
    for number, classes in enumerate((("red", "green", "blue", "none"), ("red", "green", "pink"))):
        DatasetInfo(info.name, classes, info.splits, 32, info.preparation).save(data)
        train(small_config, tmp_path / str(number))
        model = load_model(tmp_path / str(number))
        assert model.params["classifier.kernel"].shape == (SMALL.temporal_width, len(classes))
        assert "so the head is drawn anew" in capsys.readouterr().err
    small_config.model.prompts = 3
    with pytest.raises(
        UserError, match=r"init_from is a model of other sizes: model\.prompts is 3"
    ):
        train(small_config, tmp_path / "other")


def test_a_dataset_is_opened_once_a_run(small_config, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        DatasetInfo,
        "load",
        classmethod(lambda cls, path, _load=DatasetInfo.load: opened.append("info") or _load(path)),
    )
    load = records.load_split
    monkeypatch.setattr(records, "load_split", lambda d, name: opened.append(name) or load(d, name))
    train(small_config, tmp_path)
    assert sorted(opened) == ["info", "test", "train"]


def test_a_model_of_other_preparation_is_trained_on_only_where_allowed(
    finished_run, small_config, small_dataset, tmp_path
):
    info = DatasetInfo.load(small_dataset)
    data = Path(shutil.copytree(small_dataset, tmp_path / "data"))
    settings = {**info.preparation, "sample_rate": 16000}
    DatasetInfo(info.name, info.classes, info.splits, 32, settings).save(data)
    small_config.data.dir, small_config.init_from = str(data), str(finished_run)
    with pytest.raises(UserError, match="sample_rate: the data have 16000, the model 'native'"):
        train(small_config, tmp_path / "run")
    small_config.allow_mismatch = ("sample_rate",)
    train(small_config, tmp_path / "run")
    assert load_model(tmp_path / "run").card.preparation == settings
