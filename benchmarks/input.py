"""Times the training input beside the usual way, on the same clips in one run.

    python benchmarks/input.py --out=benchmarks/results/input.json

The baseline is what the usual PyTorch data sets do for every item: PIL opens 16 JPEG files and
resizes them, and a filter bank is computed from the whole wav file. Files are as DFEW has them:
pictures of 256 x 256, sound at 44.1 kHz. The limit is JPEG decoding alone, by the decoder that the
pipeline uses and by OpenCV's. Figures are clips for
each second of one core: processor time, all threads together.
"""

import argparse
import json
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from machine import take_one_core
from PIL import Image

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import sample_clip
from data_prep.synthetic.voice import SAMPLE_RATE, synthesise
from mmadfer_jax.clips import audio
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg, train_indices
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import Record, RecordSource, ShardWriter
from mmadfer_jax.training import input as pipeline

SIDE, FRAMES, LENGTH, BATCH = 224, 16, 512, 8
READING = Reading(FRAMES, LENGTH)
FILE_SIDE, FILE_RATE = 256, 44100  # pixels and Hz of the files that the baseline reads


def write(folder: Path, clips: int) -> None:
    """The same clips as a prepared dataset and as folders of JPEG and wav files."""
    with ShardWriter(folder / "prepared", "train", 0, 1, "clips") as writer:
        for number in range(clips):
            clip = sample_clip(number % 7, number)
            pictures = [
                cv2.resize(rgb, (FILE_SIDE, FILE_SIDE)) for rgb in render_frames(clip.picture)
            ]
            voice = audio.resample(synthesise(clip.voice)[None], SAMPLE_RATE, FILE_RATE)
            sound = np.round(np.clip(voice, -1, 1) * 32767).astype(np.int16)
            files = folder / "files" / str(number)
            files.mkdir(parents=True)
            for i, rgb in enumerate(pictures):
                (files / f"{i:05d}.jpg").write_bytes(encode_jpeg(rgb, 95))
            with wave.open(str(files.with_suffix(".wav")), "wb") as file:
                file.setparams((1, 2, FILE_RATE, 0, "NONE", ""))
                file.writeframes(sound.tobytes())
            frames = [encode_jpeg(cv2.resize(rgb, (SIDE, SIDE)), 95) for rgb in pictures]
            mel = audio.log_mel(sound / np.float32(32768), FILE_RATE).astype(np.float16)
            writer.write(Record(str(number), number % 7, frames, mel, FILE_RATE, len(frames), ""))
    DatasetInfo("clips", tuple("abcdefg"), {"train": clips}, SIDE, {}).save(folder / "prepared")


def baseline_item(folder: Path, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A training item the usual way."""
    files = sorted((folder / "files" / str(number)).iterdir())
    pictures = [
        Image.open(files[i]).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)
        for i in train_indices(len(files), FRAMES, rng)
    ]
    with wave.open(str(folder / "files" / f"{number}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        mel = filter_bank(samples / np.float32(32768), file.getframerate())
    return {
        "frames": np.stack(pictures).astype(np.float32) / 255,  # as ToTensor gives them
        "spectrogram": READING.sound(mel),
    }


def filter_bank(samples: np.ndarray, rate: int) -> np.ndarray:
    """As torchaudio's `kaldi.fbank`: the whole sound, and the filters computed anew each time."""
    audio.mel_bank.cache_clear()
    whole = np.lib.stride_tricks.sliding_window_view(samples, rate // 40)[:: rate // 100]
    if len(whole) <= audio.MAX_FRAMES:
        return audio.log_mel(samples[None], rate)
    step = audio.MAX_FRAMES * (rate // 100)
    pieces = [samples[i : i + step + rate // 40] for i in range(0, len(samples), step)]
    return np.concatenate([audio.log_mel(piece[None], rate) for piece in pieces])


def decoding_alone(source: RecordSource, number: int, rng: np.random.Generator) -> None:
    """The 16 JPEG pictures of an item."""
    frames = source[number].frames
    for i in train_indices(len(frames), FRAMES, rng):
        decode_jpeg(frames[i])


def decoding_by_opencv(source: RecordSource, number: int, rng: np.random.Generator) -> None:
    """The same with OpenCV's decoder."""
    frames = source[number].frames
    for i in train_indices(len(frames), FRAMES, rng):
        cv2.imdecode(np.frombuffer(frames[i], np.uint8), cv2.IMREAD_COLOR_RGB)


def rate(items: int, run: Callable[[], Any]) -> tuple[float, float]:
    """Clips for each second of a core, and for each second of the clock."""
    clock, cores = time.perf_counter(), time.process_time()
    run()
    return items / (time.process_time() - cores), items / (time.perf_counter() - clock)


def _times(count: int, function: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            function()

    return run


def measure(folder: Path, clips: int, rounds: int) -> dict[str, Any]:
    """All figures, the ways taking turns."""
    write(folder, clips)
    take_one_core()
    source = RecordSource(folder / "prepared", ["train"])
    options = {
        "batch_size": BATCH,
        "seed": 0,
        "epochs": 4,
    }

    def usual() -> None:
        rng = np.random.default_rng(0)
        for number in range(clips):
            baseline_item(folder, number, rng)

    def limit(decode: Callable[..., None]) -> Callable[[], None]:
        def run() -> None:
            rng = np.random.default_rng(0)
            for number in range(clips):
                decode(source, number, rng)

        return run

    def ours() -> None:
        for _ in pipeline.train_batches(source, READING, **options):
            pass

    ways = {
        "baseline": (clips, usual),
        "pipeline": (clips * options["epochs"], ours),
        "jpeg_decoding_alone": (clips, limit(decoding_alone)),
        "jpeg_decoding_by_opencv": (clips, limit(decoding_by_opencv)),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (items, run) in ways.items():
            found[name].append(rate(items, run))
    a_core = {name: float(np.median([core for core, _ in f])) for name, f in found.items()}
    rng = np.random.default_rng(0)
    files = sorted((folder / "files" / "0").iterdir())[:FRAMES]
    sound = np.zeros(2 * FILE_RATE, np.float32)
    record = source[0]
    jpegs = record.frames[:FRAMES]
    parts = {
        "baseline: 16 pictures": lambda: [
            Image.open(f).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR) for f in files
        ],
        "baseline: filter bank of 2 s": lambda: filter_bank(sound, FILE_RATE),
        "baseline: item": lambda: baseline_item(folder, 0, rng),
        "pipeline: record read and checked": lambda: source[0],
        "pipeline: 16 pictures": lambda: [decode_jpeg(data) for data in jpegs],
        "pipeline: spectrogram": lambda: READING.sound(record.spectrogram),
    }
    return {
        "milliseconds": {
            name: round(1000 / rate(20, _times(20, f))[0], 2) for name, f in parts.items()
        },
        "clips": clips,
        "frames_a_clip": round(float(np.mean([r.num_frames for r in source])), 1),
        "clips_a_core_second": {name: round(value, 1) for name, value in a_core.items()},
        "clips_a_second": {
            name: round(float(np.median([clock for _, clock in f])), 1) for name, f in found.items()
        },
        "pipeline_times_the_baseline": round(a_core["pipeline"] / a_core["baseline"], 2),
        "pipeline_share_of_the_limit": round(a_core["pipeline"] / a_core["jpeg_decoding_alone"], 2),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=48, help="a multiple of 8 (48)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.clips, arguments.rounds)
    result = stamp("opencv-python-headless", "simplejpeg", "pillow", "numpy", "grain") | result
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
