"""What can be asked of an evaluation, from the command's functions to the report's files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmadfer_jax import files
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluate import evaluate, evaluate_table
from mmadfer_jax.evaluation.classes import shared_classes
from mmadfer_jax.evaluation.predictions import read_predictions
from mmadfer_jax.evaluation.probes import parse_probes
from mmadfer_jax.evaluation.questions import Questions
from mmadfer_jax.weights.model_files import save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def asked(pairs, tmp_path_factory):
    """The report of an evaluation that was asked for everything, and what it told."""
    source, model = pairs
    folder, told = tmp_path_factory.mktemp("asked"), []
    lines = ["clip,half", *(f"{clip},{'ab'[i % 2]}" for i, clip in enumerate(source.ids))]
    (folder / "halves.csv").write_text("\n".join(lines))
    save_model(folder / "same.safetensors", model.params, model.card, layout="own")
    questions = Questions(
        probes=parse_probes(["modalities", "frames=2"]),
        compare=str(folder / "same.safetensors"),
        groups=(f"{folder}/halves.csv:half",),
        features=folder / "made" / "features.npz",
    )
    options = {"batch_size": 64, "questions": questions, "tell": told.append}
    return evaluate(model, source, folder / "report", **options), folder, told


def test_every_question_has_its_part_of_the_report(asked):
    results, folder, told = asked
    report = folder / "report"
    assert json.loads((report / "results.json").read_text()) == json.loads(json.dumps(results))
    names = ["calibration", "groups", "comparison", "gates", "attention", "probes", "conflict"]
    assert [name for name in results if name in names] == names
    assert len(told) == len(names)  # and the mixed clips; calibration is in the summary
    page = (report / "report.md").read_text()
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert {"confusion_matrix.png", "reliability.png", "probes.png", "groups_half.png"} <= {
        *pictures
    }
    assert all((report / picture).is_file() for picture in pictures)
    assert all(text.splitlines()[0] in page for text in told)
    low, high = results["intervals"]["uar"]
    assert low <= results["uar"] <= high
    assert results["probes"][0]["uar"] == pytest.approx(results["uar"])
    with np.load(folder / "made" / "features.npz") as features:
        assert features["clip_features"].shape[0] == results["clips"]


def test_a_model_does_not_differ_from_itself(asked):
    results, _, _ = asked
    found = results["comparison"]
    assert found["mcnemar_p"] == 1
    assert found["uar"]["difference"] == 0
    assert tuple(found["uar"]["interval"]) == (0, 0)
    assert found["right"]["this_alone"] == found["right"]["other_alone"] == 0


def test_a_table_of_predictions_is_evaluated_as_its_model_was(asked, tmp_path):
    results, folder, _ = asked
    table = folder / "report" / "predictions.csv"
    questions = Questions(compare=str(table), groups=(f"{folder}/halves.csv:half",))
    found = evaluate_table(table, tmp_path / "again", questions=questions)
    for name in ("uar", "war", "confusion_matrix", "per_class_recall", "clips", "intervals"):
        assert found[name] == results[name]
    assert found["calibration"]["ece"] == pytest.approx(results["calibration"]["ece"])
    assert found["groups"] == json.loads(json.dumps(results["groups"])) or (
        found["groups"]["half"][1]["uar"] == results["groups"]["half"][1]["uar"]
    )
    answers, _ = read_predictions(tmp_path / "again" / "predictions.csv")
    assert answers.ids == read_predictions(table)[0].ids
    for questions in (Questions(probes={"order": None}), Questions(features=Path("x.npz"))):
        with pytest.raises(UserError, match="need a model and --data"):
            evaluate_table(table, tmp_path / "not", questions=questions)
    with pytest.raises(UserError, match=r"compared with another predictions\.csv"):
        evaluate_table(table, tmp_path / "not", questions=Questions(compare="runs/a"))
    assert not (tmp_path / "not").exists()


def renamed(source: RecordSource, classes) -> RecordSource:
    """The same clips, as if their classes had other names."""
    info = source.info
    other = DatasetInfo(info.name, classes, info.splits, info.image_size, info.preparation)
    return RecordSource(source.directory, source.splits, other)


def test_shared_classes_are_evaluated_by_themselves(pairs, tmp_path):
    """As if another dataset had some of the model's classes and others."""
    source, model = pairs
    own = evaluate(model, source, tmp_path / "own", batch_size=64)
    # "low" and "high" are foreign to the model, which has them besides.
    data = renamed(source, ("Blue", "RED", "purple", "green", "dawn", "dusk"))
    with pytest.raises(UserError, match=r"purple, green of the data.*--shared_classes evaluates"):
        evaluate(model, data, tmp_path / "refused")
    found = evaluate(model, data, tmp_path / "shared", batch_size=64, shared=True)
    assert found["classes"] == ["blue", "red", "dawn", "dusk"]
    assert found["clips"] == 60
    (note,) = [note for note in found["settings"]["notes"] if "share" in note]
    assert "4 classes that data and model share: blue, red, dawn, dusk" in note
    assert "30 of 90 clips, of purple, green, are left out" in note
    assert "the model may not answer low, high" in note
    answers, _ = read_predictions(tmp_path / "own" / "predictions.csv")
    kept = [0, 1, 4, 5]
    inside = np.isin(answers.labels, kept)
    said = np.array(kept)[answers.logits[inside][:, kept].argmax(axis=1)]
    assert found["war"] == pytest.approx((said == answers.labels[inside]).mean())
    assert found["war"] >= own["per_class_recall"]["blue"] - 0.2


def test_shared_classes_need_two():
    assert shared_classes(("sad", "calm", "joy"), ("Happy", "Fear", "Sadness")) == (
        [2, 0],
        [0, 2],
    )
    with pytest.raises(UserError, match=r"share 1 class\(es\); expected at least 2"):
        shared_classes(("sad", "calm"), ("happy", "sad"))
    with pytest.raises(UserError, match="classes joy, happy are one class of the model"):
        shared_classes(("joy", "happy", "sad"), ("happy", "sad"))


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmadfer_jax.evaluate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_reads_a_table_and_says_what_it_cannot_do(asked, tmp_path):
    _, folder, _ = asked
    table = folder / "report" / "predictions.csv"
    done = run(table, f"--groups={folder}/halves.csv:half", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "| all clips |" in done.stdout
    assert "95 % of resamples: UAR" in done.stdout
    assert (tmp_path / "out" / "groups_half.png").is_file()
    done = run(table, "--features=x.csv", f"--out={tmp_path / 'not'}")
    assert done.returncode == 1
    assert "--features=x.csv; expected a name that ends in .npz" in done.stderr
    done = run(folder / "same.safetensors", f"--out={tmp_path / 'not'}")
    assert "--data=DIR is missing" in done.stderr
    assert not files.names(tmp_path / "not")
