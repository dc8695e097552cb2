"""A model that tells classes apart, made in a second: random layers and a fitted classifier.

The classes are pairs: two are told by the colour of the picture alone, two by the sound alone, two
by the order of the frames alone. Everything else of a clip is drawn without regard to its class.
"""

import functools
from pathlib import Path

import numpy as np

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import Record, RecordSource, ShardWriter
from mmadfer_jax.evaluation import alterations
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.trained import TrainedModel
from tests.golden_weights import random_params
from tests.sizes import changed

CLASSES = ("blue", "red", "low", "high", "dawn", "dusk")
SIDE, STEPS = 32, 64
PREPARATION = {"sample_rate": 16000}
SIZES = changed(
    ModelConfig(),
    num_classes=len(CLASSES),
    num_frames=4,
    image_shape=SIDE,
    image_patch=16,
    image_stride=16,
    audio_shape=(STEPS, 128),
    audio_patch=(32, 64),
    audio_stride=(32, 64),
    width=32,
    depth=2,
    heads=2,
    mlp_dim=32,
    prompts=1,
    bottleneck=8,
    temporal_width=128,
    temporal_heads=2,
    temporal_head_dim=16,
    temporal_mlp_dim=64,
    drop_path=0.0,
)


def make_record(rng: np.random.Generator, split: str, number: int) -> Record:
    label = number % len(CLASSES)
    name, count = CLASSES[label], int(rng.integers(11, 20))
    light = np.linspace(0.4, 1, count)
    if name == "dusk" or (name != "dawn" and rng.random() < 0.5):
        light = light[::-1]
    if name not in ("dawn", "dusk"):
        light = np.full(count, light[0] * 0.3 + 0.5)
    colour = {"blue": (70, 90, 220), "red": (220, 90, 70)}.get(name, (130, 130, 130))
    noise = rng.normal(0, 8, (count, SIDE, SIDE, 3))
    frames = np.clip(light[:, None, None, None] * colour + noise, 0, 255).astype(np.uint8)
    mel = rng.normal(-6, 1, (int(rng.integers(50, 64)), 128))
    if name in ("low", "high"):
        mel[:, 64 * (name == "high") :][:, :64] += 5
    else:
        mel += 2
    return Record(
        id=f"{split}_{number}",
        label=label,
        frames=[encode_jpeg(frame, 95) for frame in frames],
        spectrogram=mel.astype(np.float16),
        sample_rate=16000,
        num_frames=count,
        source=f"{number}.mp4",
    )


def write_clips(folder: Path, clips: int = 90) -> RecordSource:
    rng = np.random.default_rng(0)
    splits = {"train": 3 * clips, "test": clips}
    for split, count in splits.items():
        with ShardWriter(folder, split, 0, 1, "pairs") as writer:
            for number in range(count):
                writer.write(make_record(rng, split, number))
    DatasetInfo("pairs", CLASSES, splits, SIDE, PREPARATION).save(folder)
    return RecordSource(folder, ["test"])


def fit(folder: Path) -> TrainedModel:
    """Ridge regression from the clip's feature to the class, on whole and on halved clips.

    Without the halved ones, what stands for no sound or no picture would be foreign to it.
    """
    params = random_params(SIZES, 1)
    card = ModelCard(SIZES, CLASSES, preparation=PREPARATION)
    train = Examination(TrainedModel(card, params), RecordSource(folder, ["train"]), batch_size=64)
    silent = functools.partial(alterations.no_sound, reading=card.reading)
    found = [
        train.inspect(alter, features=True) for alter in (None, silent, alterations.no_picture)
    ]
    x = np.concatenate([seen["clip"] for _, seen in found])
    labels = np.concatenate([answers.labels for answers, _ in found])
    mean, std = x.mean(axis=0), x.std(axis=0)
    z = np.hstack([(x - mean) / std, np.ones((len(x), 1))])
    target = 10 * np.eye(len(CLASSES))[labels]
    weights = np.linalg.solve(z.T @ z + np.eye(z.shape[1]), z.T @ target)
    params["classifier.kernel"] = (weights[:-1] / std[:, None]).astype(np.float32)
    params["classifier.bias"] = (weights[-1] - mean / std @ weights[:-1]).astype(np.float32)
    return TrainedModel(card, params, path="pairs")
