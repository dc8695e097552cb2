"""The doctor, given a model that tells classes apart and data with one mistake each."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest

from mmadfer_jax import doctor
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips import audio
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.diagnosis import treatments
from mmadfer_jax.diagnosis.checks import look_at
from mmadfer_jax.diagnosis.diagnose import diagnose, spread_over_classes
from mmadfer_jax.diagnosis.expected import Expected, expected_of
from mmadfer_jax.diagnosis.verdict import (
    DOUBTFUL,
    NOT_TRUSTED,
    TOO_GOOD,
    TRUSTED,
    UNKNOWN,
    class_order,
    judge,
)
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.weights.model_files import save_model
from tests import readout

EXPECTED = Expected(97.0, 97.0, "this test")


@pytest.fixture(scope="module")
def examination(pairs):
    source, model = pairs
    return Examination(model, source, batch_size=64)


def change(**fields):
    return lambda records: [
        dataclasses.replace(r, **{k: f(r) for k, f in fields.items()}) for r in records
    ]


def pictures(function):
    """Every frame of a clip changed."""

    def frames(record: Record) -> list[bytes]:
        return [encode_jpeg(function(decode_jpeg(data)), 95) for data in record.frames]

    return change(frames=frames)


def as_text(record: Record) -> list[bytes]:
    return [record.frames[i] for i in sorted(range(record.num_frames), key=lambda i: str(i + 1))]


def sound(function):
    return change(spectrogram=lambda record: function(record.spectrogram).astype(np.float16))


def exchanged(records: list[Record]) -> list[Record]:
    """Every clip has the sound of the one but four."""
    sounds = [record.spectrogram for record in records]
    rolled = sounds[4:] + sounds[:4]
    return [dataclasses.replace(r, spectrogram=s) for r, s in zip(records, rolled, strict=True)]


MISTAKES = {
    "frames in text order": (change(frames=as_text), "stored in the text order of their names"),
    "frames backwards": (change(frames=lambda r: r.frames[::-1]), "stored from last to first"),
    "blue for red": (
        pictures(lambda x: np.ascontiguousarray(x[..., ::-1])),
        "red and blue were exchanged",
    ),
    "decibels": (sound(lambda x: x * 10 / math.log(10)), "log-mels are in decibels"),
    "16-bit integers": (sound(lambda x: x + 20.8), "the wave was taken as integers of 16 bits"),
    "labels by one": (
        change(label=lambda r: (r.label + 1) % len(readout.CLASSES)),
        "classes have other places: what the data call A the model calls B in ['blue -> dusk', "
        "'red -> blue', 'low -> red', 'high -> low', 'dawn -> high', 'dusk -> dawn']",
    ),
    "sound of others": (exchanged, "the sound tells the model nothing"),
}


def examined(examination, source, expected=EXPECTED, **options):
    found = {s.name: s for s in diagnose(examination.on(source), expected, clips=60, **options)}
    return found, found["verdict"].results


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_named(examination, tmp_path, mistake):
    spoil, said = MISTAKES[mistake]
    source = readout.write_clips(tmp_path, {"test": spoil(readout.make_records("test", 90))})
    found, verdict = examined(examination, source)
    assert verdict["verdict"] in (NOT_TRUSTED, DOUBTFUL)
    assert said in verdict["causes"][0]
    assert "Evidence: with" in verdict["causes"][0]
    assert f"Likeliest cause: {verdict['causes'][0]}" in found["verdict"].text


def test_good_data_are_trusted_and_nothing_more_is_tried(examination):
    found, verdict = examined(examination, examination.source)
    assert verdict["verdict"] == TRUSTED
    assert "tried" not in found
    assert found["verdict"].text.startswith("The preparation can be trusted.")
    assert found["measured"].results["uar"] > 0.97


def test_good_data_have_no_cause_for_a_model_that_is_too_bad(examination):
    """As if more was expected of it than it can."""
    found, verdict = examined(examination, examination.source, None)
    assert verdict["verdict"] == UNKNOWN
    assert verdict["causes"] == []
    helping = [row["treatment"] for row in found["tried"].results if row["helps"]]
    assert helping == []
    changes = {row["treatment"]: row["change"] for row in found["tried"].results}
    assert changes["no sound"] < -0.05
    assert changes["no picture"] < -0.4
    assert changes["sound of another clip"] < -0.05


def test_a_model_that_knows_the_clips_is_told_by_the_other_parts(examination, tmp_path):
    known, foreign = readout.make_records("part1", 60), readout.make_records("part2", 60)
    foreign = change(label=lambda r: (r.label + 1) % 6)(foreign)
    source = readout.write_clips(tmp_path, {"part2": foreign, "part1": known})
    found, verdict = examined(examination, source, Expected(60.0, 60.0, "this test"))
    assert verdict["verdict"] == TOO_GOOD
    assert found["folds"].results["part1"]["war"] > 0.9
    assert found["folds"].results["part2"]["war"] < 0.2
    assert "knows least is part2" in found["folds"].text
    assert "has probably seen these clips" in found["verdict"].text


@pytest.mark.parametrize(
    ("uar", "half", "verdict"),
    [
        (0.62, 0.03, TRUSTED),  # the figure lies inside
        (0.605, 0.02, TRUSTED),  # within the tolerance of the interval
        (0.595, 0.01, DOUBTFUL),
        (0.52, 0.03, NOT_TRUSTED),
        (0.70, 0.03, TRUSTED),
        (0.80, 0.03, TOO_GOOD),
    ],
)
def test_verdicts(uar, half, verdict):
    expected = Expected(63.63, 73.99, "fold 1")
    assert judge(uar, (uar - half, uar + half), expected) == verdict
    assert judge(uar, (uar - half, uar + half), None) == UNKNOWN


def test_what_is_expected_goes_by_model_dataset_and_fold(pairs):
    def of(card, name, classes, *splits):
        info = DatasetInfo(name, classes, {}, 224, {})
        source = object.__new__(RecordSource)
        source.splits = splits
        return expected_of(card, info, source)

    dfew = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
    released = ModelCard(ModelConfig(), ("Happy", *dfew[1:]))
    assert of(released, "dfew", dfew, "part1")[:2] == (63.63, 73.99)
    assert of(released, "dfew", dfew, "part2")[:2] == (67.01, 77.51)
    assert of(released, "dfew", dfew, "part2").tolerance > 3  # a mean is of no single fold
    assert of(released, "mafw", dfew, "part1")[:2] == (37.12, None)
    assert of(released, "mine", dfew, "part1") is None
    assert of(released, "dfew", dfew[:3], "part1") is None
    run = dataclasses.replace(
        released,
        preparation={"sample_rate": 16000},
        data={"name": "mine", "test": {"splits": ["test"]}},
        figures={"step": 7, "test_uar": 0.5, "test_war": 0.6},
    )
    assert of(run, "mine", dfew, "test")[:2] == (50.0, 60.0)
    assert of(run, "mine", dfew, "train") is None
    assert of(run, "other", dfew, "test") is None


def test_class_order_gains_nothing_by_chance():
    rng = np.random.default_rng(0)
    labels, names = rng.integers(4, size=400).astype(np.int32), ("a", "b", "c", "d")

    def answers(said):
        return Answers(["x"] * 400, labels, np.eye(4)[said])

    right, _ = class_order(answers(rng.integers(4, size=400)), names)
    assert right.mean() < 0.32  # a fourth by chance; on the clips it was found on it would be more
    right, moved = class_order(answers(labels), names)
    assert right.all()
    assert moved == []
    said = np.array([0, 2, 1, 3])[labels]
    said[:100] = rng.integers(4, size=100)
    right, moved = class_order(answers(said), names)
    assert right.mean() > 0.75
    assert moved == ["b -> c", "c -> b"]


def test_a_sample_has_as_many_of_each_class_as_there_are():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 20)
    places = spread_over_classes(labels, 23)
    assert np.bincount(labels[places]).tolist() == [10, 3, 10]
    np.testing.assert_array_equal(places, spread_over_classes(labels, 23))
    assert len(spread_over_classes(labels, 1000)) == 73


def test_odd_data_are_told_without_a_model(pairs, tmp_path):
    _, model = pairs
    released = dataclasses.replace(model.card, preparation=None)
    wave = np.random.default_rng(0).standard_normal((1, 16000)) * 0.1
    quiet = audio.log_mel(wave, 44100).astype(np.float16)
    quiet[:, audio.band_hertz(44100) > 8000] = audio.LOWEST
    records = readout.make_records("test", 12)
    grey = pictures(
        lambda x: np.repeat(x.mean(axis=-1, keepdims=True), 3, -1).astype(np.uint8) // 8
    )
    records = change(
        spectrogram=lambda r: quiet if int(r.id[5:]) % 3 else None,
        sample_rate=lambda r: 44100 if int(r.id[5:]) % 3 else 0,
        frames=lambda r: [r.frames[0]] * r.num_frames,
    )(grey(records))
    look, odd = look_at(readout.write_clips(tmp_path, {"test": records}), released)
    assert look["sample_rates"] == {"44100": 8}
    text = "; ".join(odd)
    for said in (
        "the sound was resampled to 16000 Hz",
        "100% of the clips have no sound above 8 kHz although",
        "33% of the clips have no sound",
        "100% of the clips are without colour",
        "in 100% of the clips all frames are alike",
        "mean grey level is",
    ):
        assert said in text
    _, odd = look_at(pairs[0], model.card)
    assert odd == []


def test_what_undoes_a_mistake_undoes_it():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (14, 24, 24, 3), np.uint8)
    frames = np.repeat(np.repeat(frames[:, ::8, ::8], 8, axis=1), 8, axis=2)
    stored = [encode_jpeg(frames[i], 100) for i in sorted(range(14), key=str)]
    record = Record("x", 0, stored, rng.normal(size=(9, 128)).astype(np.float16), 16000, 14, "")
    reading = Reading(num_frames=4, length=64)
    picked = reading.pick(14, "x")
    clip = {"frames": frames[picked], "spectrogram": reading.sound(record.spectrogram)}
    found = treatments.stored_as_text(clip, record, 0, reading=reading, first=0)["frames"]
    assert (
        np.abs(found.astype(int) - frames[picked]).mean() < 15
    )  # JPEG alone; other frames are 80 off
    upside = {"frames": clip["frames"][:, ::-1, ::-1]}
    found = treatments.turned(upside, record, 0, quarters=2)["frames"]
    np.testing.assert_array_equal(found, clip["frames"])
    found = treatments.nearer(clip, record, 0, share=1 / 3)["frames"]
    np.testing.assert_array_equal(found, np.broadcast_to(clip["frames"][:, 8:9, 8:9], found.shape))
    wide = treatments.nearer(clip, record, 0, share=1.5)["frames"]
    assert wide.shape == clip["frames"].shape
    assert abs(wide.mean() - clip["frames"].mean()) < 15
    loud = treatments.scaled_sound(clip, record, 0, factor=2, offset=1)["spectrogram"]
    np.testing.assert_allclose(loud[:9], 2 * clip["spectrogram"][:9] + 1)
    assert (loud[9:] == 0).all()


def test_the_command_writes_its_findings_and_its_exit_code_tells(
    pairs, tmp_path, monkeypatch, capsys
):
    source, model = pairs
    save_model(tmp_path / "model.safetensors", model.params, model.card, layout="own")

    def run(*arguments) -> object:
        command = ["doctor", str(tmp_path / "model.safetensors"), f"--data={source.directory}"]
        monkeypatch.setattr(sys, "argv", [*command, "--batch_size=64", "--clips=48", *arguments])
        try:
            doctor.main()
        except SystemExit as end:
            return end.code
        return 0

    assert run("--expect=97/97", "--sample", f"--out={tmp_path / 'out'}") == 0
    assert "The preparation can be trusted." in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert found["measured"]["clips"] == 48
    assert found["verdict"]["verdict"] == TRUSTED
    assert "| measured here |" in (tmp_path / "out" / "doctor.md").read_text()
    assert run("--expect=80", "--sample") == 3
    assert "points above what was expected" in capsys.readouterr().out
    for wrong, said in (
        ("--expect=97/97/1", "expected UAR/WAR in percent, such as 63.6/74"),
        ("--expect=good", "expected UAR/WAR in percent, such as 63.6/74"),
        ("--clips=0", "--batch_size and --clips: expected 1 or more"),
    ):
        assert said in run(wrong)
