import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import small_settings
from video_files import corners, tone, write_video

import mmadfer_jax
from data_prep.__main__ import main as prepare
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.export import export
from mmadfer_jax.predict import to_json
from mmadfer_jax.train import train
from mmadfer_jax.trained import TrainedModel
from mmadfer_jax.training.input import eval_batches
from mmadfer_jax.weights.model_files import read_model, save_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Four clips of two classes with their labels."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,label,split"]
    for number, split in enumerate(("train", "train", "test", "test")):
        sound = tone(1.0, 16000, hertz=300 * (number + 1)) if number != 3 else None
        write_video(folder / f"{number}.mp4", corners(18 + number), sound=sound)
        lines.append(f"{number}.mp4,{'ab'[number % 2]},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory) -> tuple[Path, Path]:
    """A dataset of `clips` and a run trained on it."""
    data, workdir = tmp_path_factory.mktemp("prepared"), tmp_path_factory.mktemp("run")
    prepare(
        [
            "--dataset=folder",
            f"--source={clips}",
            f"--labels={clips / 'labels.csv'}",
            f"--out={data}",
            "--image_size=48",
            "--detect_every=9",
            "--workers=1",
        ]
    )
    config = small_settings(data)
    config.train.update({"batch_size": 2, "epochs": 1})
    config.eval.batch_size = 2
    config.mesh.update({"data": 2, "tensor": 2})
    config.sharding = ((r".*\.fc1\.kernel", (None, "tensor")), (".*", ()))
    train(config, workdir)
    return data, workdir


@pytest.fixture(scope="module")
def predictor(run) -> TrainedModel:
    return mmadfer_jax.load_model(run[1])


def test_a_prediction_is_what_evaluation_sees_of_the_same_clip(run, clips, predictor):
    """Through the video on one side, through the shards on the other."""
    data, _ = run
    source = RecordSource(data, ["test"])
    batches = eval_batches(source, predictor.card.reading, batch_size=1)
    logits = np.concatenate([predictor.logits(b["frames"], b["spectrogram"]) for b in batches])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name in ("2.mp4", "3.mp4"):
        prediction = predictor.predict(clips / name)
        probabilities = [prediction.probabilities[c] for c in ("a", "b")]
        error = np.abs(expected - probabilities).max(axis=1).min()
        assert error < 1e-6, name
        assert sum(probabilities) == pytest.approx(1)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_an_exported_file_answers_as_the_run_does(run, clips, predictor, tmp_path, name):
    export(run[1], tmp_path / name)
    loaded = mmadfer_jax.load_model(tmp_path / name)
    assert loaded.classes == predictor.classes
    assert loaded.preparation == predictor.preparation
    expected = predictor.predict(clips / "2.mp4").probabilities
    assert loaded.predict(clips / "2.mp4").probabilities == pytest.approx(expected, abs=1e-6)


def test_a_model_of_yunets_faces_asks_for_the_file_that_found_them(run, tmp_path):
    file, yunet = tmp_path / "model.safetensors", tmp_path / "yunet.onnx"
    yunet.write_bytes(b"a detector")
    export(run[1], file)
    model = read_model(file)
    settings = PrepareSettings(image_size=32, faces="yunet", face_model=str(yunet))
    card = dataclasses.replace(model.card, preparation=settings.to_dict())
    save_model(file, model.params, card, layout="own")
    with pytest.raises(UserError, match="name it with --face_model"):
        mmadfer_jax.load_model(file).predict("clip.mp4")
    assert mmadfer_jax.load_model(file, face_model=str(yunet)).preparation == settings
    with pytest.raises(UserError, match=r"model\.safetensors is not the model file"):
        mmadfer_jax.load_model(file, face_model=str(file)).predict("clip.mp4")


def test_what_makes_an_answer_doubtful_is_said(clips, predictor, tmp_path):
    silent = predictor.predict(clips / "3.mp4")
    assert silent.sample_rate == 0
    assert "no sound" in silent.problems
    assert any("no face" in problem for problem in silent.problems)
    assert silent.face_share == 0
    short = predictor.predict(write_video(tmp_path / "short.mp4", corners(3)))
    assert short.num_frames == 3
    assert "fewer than 4 frames (3), the last one is repeated" in short.problems
    enough = predictor.predict(write_video(tmp_path / "enough.mp4", corners(5)))
    assert not any("fewer" in problem for problem in enough.problems)


def test_sound_from_another_file(clips, predictor):
    with_sound = predictor.predict(clips / "3.mp4", audio=clips / "2.mp4")
    assert with_sound.sample_rate == 16000
    assert "no sound" not in with_sound.problems
    assert with_sound.probabilities != predictor.predict(clips / "3.mp4").probabilities


def test_what_is_no_video_is_refused(predictor, tmp_path):
    (tmp_path / "words.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"words\.mp4"):
        predictor.predict(tmp_path / "words.mp4")


def test_float_frames_equal_uint8_frames(predictor):
    rng = np.random.default_rng(0)
    spectrogram = rng.standard_normal((2, 64, 128), np.float32)
    for side in (32, 48):
        frames = rng.integers(0, 256, (2, 4, side, side, 3), np.uint8)
        whole = predictor.logits(frames, spectrogram)
        assert whole.shape == (2, 2)
        scaled = predictor.logits(frames.astype(np.float64) / 255, spectrogram)
        np.testing.assert_allclose(scaled, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "spectrogram", "message"),
    [
        (np.zeros((1, 5, 32, 32, 3), np.uint8), np.zeros((1, 64, 128)), r"expected \[B, 4, H, W"),
        (np.zeros((1, 4, 32, 32, 3), np.uint8), np.zeros((1, 64, 64)), r"expected \(1, 64, 128\)"),
        (np.zeros((1, 4, 32, 32, 3), np.int32), np.zeros((1, 64, 128)), "frames are int32"),
        (np.full((1, 4, 32, 32, 3), 2.0), np.zeros((1, 64, 128)), r"lie in \[2, 2\]"),
        (np.full((1, 4, 32, 32, 3), np.nan), np.zeros((1, 64, 128)), r"expected \[0, 1\]"),
    ],
)
def test_arrays_of_another_kind_are_refused(predictor, frames, spectrogram, message):
    with pytest.raises(UserError, match=message):
        predictor.logits(frames, spectrogram)


def test_json_is_one_line(clips, predictor):
    line = to_json(predictor.predict(clips / "2.mp4"))
    fields = json.loads(line)
    assert "\n" not in line
    assert fields["label"] in ("a", "b")
    assert set(fields["probabilities"]) == {"a", "b"}


def _command(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command(run, clips):
    done = _command(
        "-m", "mmadfer_jax.predict", clips / "2.mp4", f"--checkpoint={run[1]}", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clip"].endswith("2.mp4")


def test_a_model_multiplies_in_another_type_than_it_was_trained_in(run, clips, predictor):
    assert predictor.card.model.dtype == "float32"
    short = mmadfer_jax.load_model(run[1], dtype="bfloat16")
    found = short.predict(clips / "2.mp4").probabilities
    expected = predictor.predict(clips / "2.mp4").probabilities
    assert found != expected
    assert found == pytest.approx(expected, abs=1e-2)
    assert mmadfer_jax.load_model(run[1], dtype="float32").card == predictor.card
    with pytest.raises(UserError, match=r"model\.dtype is 'float64'; expected one of"):
        mmadfer_jax.load_model(run[1], dtype="float64")
    done = _command(
        *("-m", "mmadfer_jax.predict", clips / "2.mp4", f"--checkpoint={run[1]}"),
        *("--json", "--dtype=bfloat16"),
    )
    assert json.loads(done.stdout)["probabilities"] == pytest.approx(found, abs=1e-6)


def test_one_bad_clip_does_not_stop_the_others(run, clips, tmp_path):
    (tmp_path / "words.mp4").write_text("not a video")
    named = [tmp_path / "words.mp4", clips / "2.mp4", tmp_path / "gone.mp4"]
    options = [f"--checkpoint={run[1]}", "--json", "--batch=2"]
    done = _command("-m", "mmadfer_jax.predict", *named, *options)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in line for line in lines] == [True, False, True]
    assert "words.mp4: not a video" in lines[0]["error"]
    assert "2 of 3 clips could not be answered" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_face_crops_is_a_clip_too(predictor, tmp_path):
    for number, rgb in enumerate(corners(20, 48, 48)):
        (tmp_path / f"{number}.jpg").write_bytes(encode_jpeg(rgb, 95))
    prediction = predictor.predict(tmp_path)
    assert (prediction.num_frames, prediction.face_share) == (20, None)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_an_answer_that_is_not_finite_is_an_error(predictor, clips):
    params = {**predictor.params, "classifier.bias": np.full(2, np.nan, np.float32)}
    model = TrainedModel(predictor.card, params, path="model")
    with pytest.raises(UserError, match="the answer of model is not finite"):
        model.predict(clips / "2.mp4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "mmadfer_jax.predict", "no.mp4", "--checkpoint=."], "no such file: no.mp4"),
        (["-m", "mmadfer_jax.predict", "main.py", "--checkpoint=docs"], "holds no checkpoint"),
        (["main.py", "--config=configs/none.py", "--workdir=x"], "none.py"),
        (["main.py", "--config=configs/dfew.py"], "--workdir"),
        (["main.py", "--config=configs/dfew.py", "--workdir=x", "--mode=guess"], "mode"),
        (["main.py", "--config=configs/dfew.py", "--workdir=x", "--config.typo=1"], "typo"),
        (["main.py", "--config=configs/dfew.py", "--workdir=x", "--config.seed=z"], "seed"),
        (["main.py", "--config=configs/dfew.py", "--workdir=x", "--speed=9"], "speed"),
        (
            ["main.py", "--config=configs/dfew.py", "--workdir=x", "--config.data.dir=docs"],
            "docs is no prepared dataset",
        ),
    ],
)
def test_a_wrong_command_is_one_line_and_no_traceback(arguments, message):
    done = _command(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (ROOT / "x").exists()
