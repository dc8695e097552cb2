"""Any model on any prepared data."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource, ShardWriter
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluate import evaluate
from mmadfer_jax.evaluation.classes import describe_match, match_classes
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.trained import load_model
from mmadfer_jax.weights.mma_dfer import fresh_leftovers, to_torch
from mmadfer_jax.weights.model_files import save_model
from tests.conftest import make_record
from tests.foreign_files import prefixed, save_torch
from tests.golden_weights import random_params
from tests.sizes import changed

ROOT = Path(__file__).resolve().parents[2]
# Sizes that a released checkpoint tells, seven classes.
SIZES = changed(
    ModelConfig(),
    num_frames=4,
    image_shape=32,
    audio_shape=(64, 128),
    width=64,
    depth=2,
    heads=1,
    mlp_dim=32,
    prompts=1,
    bottleneck=8,
    temporal_width=16,
    temporal_heads=1,
    temporal_mlp_dim=16,
)
CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")


@pytest.fixture(scope="module")
def five_folds(tmp_path_factory) -> Path:
    """A dataset like DFEW: seven classes, three parts of seven clips, not a multiple of a batch."""
    folder = tmp_path_factory.mktemp("folds")
    for part in (1, 2, 3):
        with ShardWriter(folder, f"part{part}", 0, 1, "dfew") as writer:
            for number in range(7):
                writer.write(make_record(f"part{part}", number, 3, label=number))
    splits = {f"part{part}": 7 for part in (1, 2, 3)}
    DatasetInfo("dfew", CLASSES, splits, 32, {"sample_rate": 16000}).save(folder)
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    params = random_params(SIZES)
    tensors = {**to_torch(params, SIZES), **fresh_leftovers(SIZES)}
    path = tmp_path_factory.mktemp("released") / "fold1_224.pth"
    return save_torch(path, prefixed(tensors, "module."), "state_dict", epoch=24)


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmadfer_jax.evaluate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_released_checkpoint_on_a_fold_is_one_command(released, five_folds, tmp_path):
    done = run(released, f"--data={five_folds}", "--fold=2", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["clips"] == 7
    assert results["settings"]["data"]["splits"] == ["part2"]
    assert f"UAR {results['uar']:.2%}" in done.stdout
    # What spoils figures in silence is said.
    assert "happy -> Happy, sad -> Sad" in done.stderr
    assert "sound at 16000 Hz, released weights were trained at the clips' own" in done.stderr
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    model, source = load_model(released), RecordSource(five_folds, ["part2"])
    assert [row["clip"] for row in rows] == source.ids
    assert [row["true"] for row in rows] == [model.classes[label] for label in source.labels]
    hits = np.array([row["true"] == row["predicted"] for row in rows])
    assert results["war"] == pytest.approx(hits.mean())
    assert {f"p({name})" for name in model.classes} < rows[0].keys()


def test_a_file_and_its_source_give_the_same_report(released, five_folds, tmp_path):
    source = RecordSource(five_folds, ["part1", "part3"])
    model = load_model(released)
    save_model(tmp_path / "own.safetensors", model.params, model.card, layout="own")
    reports = []
    for path, batch_size in ((released, 4), (tmp_path / "own.safetensors", 16)):
        evaluate(load_model(path), source, tmp_path / str(batch_size), batch_size=batch_size)
        reports.append((tmp_path / str(batch_size) / "predictions.csv").read_text())
    rows = [[line.split(",") for line in report.splitlines()[1:]] for report in reports]
    assert [row[:3] for row in rows[0]] == [row[:3] for row in rows[1]]
    shares = [np.array([row[3:] for row in one], float) for one in rows]
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fold=9"], "no fold 9 in dataset dfew; it has 1 to 3"),
        (["--split=nowhere"], "no split 'nowhere'"),
        (["--batch_size=0"], "--batch_size=0; expected 1 or more"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(released, five_folds, tmp_path, arguments, message):
    done = run(released, f"--data={five_folds}", f"--out={tmp_path / 'out'}", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_answers_no_number_is_an_error(five_folds, tmp_path, released):
    model = load_model(released)
    model.params["classifier.bias"] = np.full(7, np.nan, np.float32)
    source = RecordSource(five_folds, ["part1"])
    with pytest.raises(UserError, match=r"not finite for 7 of 7 clips, such as part1_0, part1_1"):
        evaluate(model, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_are_matched_by_name_and_synonym_never_by_position():
    model = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    data = ("anger", "disgust", "FEARFUL", "happiness", "neutral", "sadness", "surprised")
    places = match_classes(data, model)
    assert [model[place] for place in places] == [
        *("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
    ]
    assert "anger -> Angry" in describe_match(data, model, places)
    assert describe_match(model, model, range(7)) == ""
    with pytest.raises(UserError, match="does not know the classes contempt of the data"):
        match_classes(("happy", "contempt"), model)
    with pytest.raises(UserError, match="classes happy, joy are one class of the model"):
        match_classes(("happy", "joy"), model)


def test_data_of_fewer_classes_are_counted_in_the_models_order(released, tmp_path):
    folder = tmp_path / "two"
    with ShardWriter(folder, "test", 0, 1, "two") as writer:
        for number in range(5):
            writer.write(make_record("test", number, 2, label=number % 2))
    DatasetInfo("two", ("fear", "joy"), {"test": 5}, 32, {"sample_rate": "native"}).save(folder)
    results = evaluate(load_model(released), RecordSource(folder, ["test"]), tmp_path / "out")
    totals = dict(zip(results["classes"], map(sum, results["confusion_matrix"]), strict=True))
    assert totals == dict.fromkeys(results["classes"], 0) | {"Fear": 3, "Happy": 2}
    assert results["per_class_recall"]["Sad"] is None


def test_data_prepared_otherwise_are_refused_by_name(released, five_folds, tmp_path):
    model = load_model(released)
    card = dataclasses.replace(model.card, preparation={"sample_rate": "native", "min_face": 20})
    model.card = card
    source = RecordSource(five_folds, ["part1"])
    with pytest.raises(UserError, match="min_face: the data have None, the model 20; sample_rate"):
        evaluate(model, source, tmp_path / "out")
    allowed = ("sample_rate", "min_face")
    assert evaluate(model, source, tmp_path / "out", allow_mismatch=allowed)["clips"] == 7


def test_a_model_without_class_names_says_how_to_give_them(five_folds, tmp_path):
    model = changed(SIZES, num_classes=3)
    card = ModelCard(model, classes=None)
    save_model(tmp_path / "x.safetensors", random_params(model), card, layout="own")
    with pytest.raises(UserError, match="names no classes; name its 3 in their order with"):
        evaluate(
            load_model(tmp_path / "x.safetensors"),
            RecordSource(five_folds, ["part1"]),
            tmp_path / "out",
        )
