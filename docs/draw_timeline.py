"""Draws `docs/images/timeline.png`: two people at once, a frame of an annotated video.

    make demo
python -m docs.draw_timeline --checkpoint=demo/run
"""

import argparse
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import SAMPLE_RATE, sample_clip
from data_prep.synthetic.script import CLASSES
from data_prep.synthetic.voice import synthesise
from mmadfer_jax import load_model

_PICTURE = Path(__file__).parent / "images" / "timeline.png"
_LEFT, _RIGHT = 31, 44  # seeds of the two people
_LEFT_PLAYS = ("Happy", "Sad", "Angry", "Surprise", "Disgust", "Happy")
_RIGHT_PLAYS = ("Sad", "Disgust", "Neutral", "Angry", "Sad", "Surprise")
_FPS, _SIDE, _GAP = 12, 288, 24
_SHOWN = 5.0  # seconds


def _played(seed: int, classes: tuple[str, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames and voice of a person who plays one class after the other."""
    frames, waves = [], []
    for name in classes:
        clip = sample_clip(CLASSES.index(name), seed)
        drawn = list(render_frames(clip.picture))
        count = round(len(drawn) / clip.picture.fps * _FPS)
        times = np.arange(count) * clip.picture.fps // _FPS
        frames += [drawn[min(i, len(drawn) - 1)] for i in times]
        samples = round(count / _FPS * SAMPLE_RATE)
        waves.append(np.resize(synthesise(clip.voice), samples))
    return frames, np.concatenate(waves)


def _side_by_side(left: list[np.ndarray], right: list[np.ndarray]) -> Iterator[np.ndarray]:
    for pair in zip(left, right, strict=False):
        picture = np.full((_SIDE, 2 * _SIDE + 2 * _GAP, 3), 90, np.uint8)
        for k, face in enumerate(pair):
            start = _GAP // 2 + k * (_SIDE + _GAP)
            picture[:, start : start + _SIDE] = cv2.resize(face, (_SIDE, _SIDE))
        yield picture


def _film(path: Path) -> None:
    """A film of both, in which the left one is heard."""
    left, wave = _played(_LEFT, _LEFT_PLAYS)
    right, _ = _played(_RIGHT, _RIGHT_PLAYS)
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=_FPS, options={"crf": "18"})
        picture.width, picture.height = 2 * _SIDE + 2 * _GAP, _SIDE
        picture.pix_fmt = "yuv420p"
        sound = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for rgb in _side_by_side(left, right):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts = SAMPLE_RATE, 0
        samples.time_base = Fraction(1, SAMPLE_RATE)
        file.mux(sound.encode(samples))
        file.mux(sound.encode(None))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="demo/run", help="the demo's run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "two.mp4")
        _film(film)
        timeline = load_model(arguments.checkpoint).timeline(film)
        timeline.save(Path(folder, "out"), formats=("video",), video=film)
        with av.open(str(Path(folder, "out", "annotated.mp4"))) as video:
            shown = next(frame for frame in video.decode(video=0) if frame.time >= _SHOWN)
        cv2.imwrite(str(_PICTURE), shown.to_ndarray(format="bgr24"))
    print(f"wrote {_PICTURE}")


if __name__ == "__main__":
    main()
