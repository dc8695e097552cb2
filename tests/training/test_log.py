import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mmadfer_jax import evaluate, predict
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.train import train
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.log import TrainingLog

METRICS = {"loss": 1.5, "accuracy": 0.5, "grad_norm": 2.0}


@pytest.fixture
def log(tmp_path):
    log = TrainingLog(tmp_path, Epochs(25, 4000), batch_size=8, every_steps=2)
    yield log
    log.close()


def test_time_left_beyond_a_day_is_told_in_days(log, monkeypatch, capsys):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 6)
    log.step(1, METRICS, 1e-4)
    log.step(2, METRICS, 1e-4)
    said = capsys.readouterr().err
    assert said.startswith("step 2/100000 epoch 1 loss 1.5000 accuracy 50.0% 2.")
    # 99,998 steps of 3 s
    assert re.search(r" clips/s, 3 days, 11:\d\d:\d\d left\n$", said)


def test_what_was_logged_before_a_checkpoint_is_on_disk_with_it(log, tmp_path):
    for step in range(1, 8):
        log.step(step, METRICS, 1e-4)
    log.progress()
    (path,) = (tmp_path / "tensorboard").iterdir()
    steps = {event.step for event in EventFileLoader(str(path)).Load() if event.HasField("summary")}
    assert steps == {2, 4, 6}


def test_names_in_brackets_are_printed_whole(
    small_config, small_dataset, tmp_path, monkeypatch, capsys
):
    """As markup of a terminal, or as a pattern of files, they would mean something else."""
    data = tmp_path / "[old][" / "x] [red]data"
    data.parent.mkdir()
    data.symlink_to(small_dataset)
    workdir = tmp_path / "[old][" / "x] [/red]run"
    small_config.data.dir = str(data)
    train(small_config, workdir)
    assert f"data: {data}, trained on train" in capsys.readouterr().err
    monkeypatch.setattr(
        sys, "argv", ["evaluate", str(workdir), f"--data={data}", f"--out={workdir}/[again]"]
    )
    evaluate.main()
    assert f"report: {workdir}/[again]\n" in capsys.readouterr().out
    assert Path(workdir, "[again]", "results.json").is_file()
    clip = tmp_path / "[old][" / "clip[/x]"
    clip.mkdir(parents=True)
    for number in range(4):
        picture = np.full((32, 32, 3), 60 * number, np.uint8)
        (clip / f"{number}.jpg").write_bytes(encode_jpeg(picture, 95))
    monkeypatch.setattr(sys, "argv", ["predict", str(clip), f"--checkpoint={workdir}"])
    predict.main()
    assert capsys.readouterr().out.startswith(f"{clip}: ")
