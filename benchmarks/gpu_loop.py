"""The whole loop from shards, and prediction of a video from end to end; parts of `gpu.py`."""

import functools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from gpu_parts import Items, Line, batches, profile
from train_step import recipe

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.audio import MEL_BINS
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.costing.timing import Training, program_of, random_params, seconds_of
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import Record, RecordSource, ShardWriter
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training import input as data

_IN_FLIGHT = 2  # steps beside the one that is waited for, as in training


def write_shards(folder: Path, clips: int, side: int, frames: int, time_steps: int) -> RecordSource:
    """A prepared dataset of smooth random pictures: 16 KB each at 224 pixels, as a real face."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(64):
        small = rng.integers(0, 255, (side // 16, side // 16, 3), np.uint8)
        picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(0, 6, picture.shape, np.uint8)
        pictures.append(encode_jpeg(np.minimum(picture, 249) + noise, 95))
    with ShardWriter(folder, "train", 0, 1, "noise") as writer:
        for i in range(clips):
            jpegs = [pictures[j] for j in rng.integers(0, len(pictures), frames)]
            mel = rng.standard_normal((time_steps, MEL_BINS)).astype(np.float16)
            writer.write(Record(str(i), i % 7, jpegs, mel, 16000, frames, ""))
    DatasetInfo("noise", tuple("abcdefg"), {"train": clips}, side, {}).save(folder)
    return RecordSource(folder, ["train"])


def loop(toy: bool) -> Items:
    """Training from shards beside the same step on one batch, with threads and with workers."""
    program = program_of(recipe(toy=toy))
    size, model = batches(toy)[0], program.model
    reading = Reading(model.num_frames, model.audio.shape[0])
    folder = tempfile.TemporaryDirectory(prefix="shards")
    clips = 4 * size if toy else 512
    source = write_shards(
        Path(folder.name), clips, model.image_size, 2 * model.num_frames, model.audio.shape[0]
    )
    work = Training(program, size, random_params(program))
    steps = 4 if toy else 200
    alone = statistics.median(seconds_of(work.step, steps=min(steps, 15), warmup=3))

    counts = (0, 1) if toy else (0, 4, 12)

    def from_shards(workers: int) -> Line:
        rows = data.local_rows(program.batch_sharding, size)
        warmup = 2 * _IN_FLIGHT
        stream = data.train_batches(
            source,
            reading,
            batch_size=size,
            seed=0,
            epochs=-(-(steps + warmup + 4) * size // clips) + 1,
            num_workers=workers,
        )
        input_seconds = 0.0
        waiting: list[Any] = []

        def step() -> None:
            nonlocal input_seconds
            start = time.perf_counter()
            batch = data.to_global(next(stream), program.batch_sharding, size, rows)
            input_seconds += time.perf_counter() - start
            work.batch = batch
            waiting.append(work.step())
            if len(waiting) > _IN_FLIGHT:
                jax.block_until_ready(waiting.pop(0))

        def steps_of(count: int) -> None:
            for _ in range(count):
                step()
            jax.block_until_ready(waiting)
            waiting.clear()

        try:
            steps_of(warmup)
            input_seconds, cores, start = 0.0, time.process_time(), time.perf_counter()
            steps_of(steps)
            seconds, cores = time.perf_counter() - start, time.process_time() - cores
            waited = input_seconds / seconds
            try:
                seen = profile(lambda: steps_of(4), steps=4)
            except Exception as error:  # the rates are known without it
                seen = {"device_busy": None, "profile_error": str(error)[:200]}
        finally:
            stream.close()
        return {
            "batch": size,
            "workers": workers,
            "cores": len(os.sched_getaffinity(0)),
            "clips_per_second": steps * size / seconds,
            "synthetic_clips_per_second": size / alone,
            "share_of_synthetic": alone * steps / seconds,
            "host_seconds_for_input": waited,
            **{name: seen[name] for name in ("device_busy", "profile_error") if name in seen},
            "own_core_seconds_a_clip": cores / (steps * size),
            "clips_in_shards": clips,
            "frame_bytes": len(source[0].frames[0]),
        }

    def input_alone(_: tempfile.TemporaryDirectory) -> Line:
        stream = data.train_batches(
            source, reading, batch_size=size, seed=0, epochs=1 if toy else 2
        )
        start, cores, count = time.perf_counter(), time.process_time(), 0
        for batch in stream:
            count += len(batch["label"])
        seconds, cores = time.perf_counter() - start, time.process_time() - cores
        return {
            "clips_per_second": count / seconds,
            "clips_a_core_second": count / cores,
            "cores": len(os.sched_getaffinity(0)),
        }

    found: Items = {f"{n} workers": functools.partial(from_shards, n) for n in counts}
    # The folder lives as long as the items do.
    return found | {"input alone": functools.partial(input_alone, folder)}


def video(toy: bool) -> Items:
    """A video file of 640 x 360 to an answer: decoding, faces, sound, the model."""
    from prepare import render  # raises where PyAV or ONNX Runtime are not there

    from mmadfer_jax.clips.clip import PrepareSettings
    from mmadfer_jax.trained import TrainedModel

    program = program_of(recipe(toy=toy))
    params = random_params(program)
    folder = tempfile.TemporaryDirectory(prefix="video")
    path = render(0, Path(folder.name, "clip.mp4"), 1 if toy else 4)

    def predict(model: ModelConfig, _: tempfile.TemporaryDirectory, **settings: Any) -> Line:
        preparation = PrepareSettings(image_size=model.image_size, **settings).to_dict()
        card = ModelCard(model, tuple("abcdefg"), preparation)
        trained = TrainedModel(card, params)
        answer = trained.predict(path)  # compiles
        calls = seconds_of(lambda: trained.predict(path), steps=1 if toy else 5, warmup=0)
        frames = np.zeros((1, model.num_frames, *model.image.shape, 3), np.uint8)
        sound = np.zeros((1, *model.audio.shape), np.float32)
        alone = seconds_of(lambda: trained.logits(frames, sound), steps=5, warmup=1)
        seconds = statistics.median(calls)
        return {
            "frames": answer.num_frames,
            "seconds_a_video": seconds,
            "frames_per_second": answer.num_frames / seconds,
            "seconds_of_the_model": statistics.median(alone),
            "cores": len(os.sched_getaffinity(0)),
        }

    every = {} if toy else {"every frame looked at": {}}
    return {
        name: functools.partial(predict, program.model, folder, **settings)
        for name, settings in (every | {"every 10th looked at": {"detect_every": 10}}).items()
    }
