"""Whether a timeline finds the classes that a rendered person shows one after the other.

    python benchmarks/truth.py --checkpoint=demo/run --out=benchmarks/results/truth.json

Each video is one person, whom the model has not seen, who plays all classes of the synthetic
dataset in an order of its own, a clip of about two seconds each, without a pause. Right is: the
segment at the middle of each clip; the window whose middle is nearest to it; and, for comparison,
`predict` of the clip alone. "overlap" is the share of all time in which the segments are right.
"""

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import numpy as np

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import SAMPLE_RATE, Clip, sample_clip
from data_prep.synthetic.script import CLASSES
from data_prep.synthetic.voice import synthesise
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.trained import TrainedModel, load_model

FIRST_PERSON = 4001  # those of the dataset have numbers from 0; on 3001 to 3016 segments were tuned


class Played(NamedTuple):
    """A class that is played from one time to another, in seconds."""

    label: str
    start: float
    end: float


def write_play(path: Path, clips: list[Clip]) -> list[Played]:
    """Writes clips of one person behind each other."""
    fps = clips[0].picture.fps
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "18"})
        sound = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        pictures = itertools.chain.from_iterable(render_frames(clip.picture) for clip in clips)
        for number, picture in enumerate(pictures):
            if not number:
                video.height, video.width = picture.shape[:2]
                video.pix_fmt = "yuv420p"
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture.copy(), format="rgb24")))
        file.mux(video.encode(None))
        wave = np.concatenate([synthesise(clip.voice) for clip in clips])
        samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        samples.sample_rate = SAMPLE_RATE
        file.mux(sound.encode(samples))
        file.mux(sound.encode(None))
    ends = np.cumsum([len(clip.picture.track) / fps for clip in clips])
    starts = [0.0, *ends[:-1]]
    labels = [CLASSES[clip.label] for clip in clips]
    return [Played(*row) for row in zip(labels, starts, ends.tolist(), strict=True)]


def right(timeline: Timeline, played: list[Played]) -> dict[str, float]:
    """Shares that are right."""
    windows, segments, windowed, held = timeline.windows, 0, 0, 0.0
    middles = (windows.start + windows.end) / 2
    for label, start, end in played:
        middle = (start + end) / 2
        row = int(np.abs(middles - middle).argmin())
        answer = windows.probabilities[row]
        windowed += np.isfinite(answer).all() and timeline.classes[answer.argmax()] == label
        for segment in timeline.segments:
            if segment.label == label:
                segments += segment.start <= middle < segment.end
                held += max(0.0, min(end, segment.end) - max(start, segment.start))
    return {
        "segments": segments / len(played),
        "windows": windowed / len(played),
        "overlap": held / played[-1].end,
    }


def compare(model: TrainedModel, people: int, folder: Path, **settings: Any) -> dict[str, Any]:
    """Means over people, whose order of classes is drawn."""
    found: dict[str, list[float]] = {}
    for person in range(FIRST_PERSON, FIRST_PERSON + people):
        order = np.random.default_rng(person).permutation(len(CLASSES))
        clips = [sample_clip(int(label), person) for label in order]
        played = write_play(folder / "play.mp4", clips)
        timeline = model.timeline(folder / "play.mp4", **settings)
        shares = right(timeline, played)
        alone = [folder / f"{clip.label}.mp4" for clip in clips]
        for clip, path in zip(clips, alone, strict=True):
            write_play(path, [clip])
        answers = [prediction.label for prediction in model.predict(alone)]
        same = [answer == row.label for answer, row in zip(answers, played, strict=True)]
        shares["predict"] = float(np.mean(same))
        for name, share in shares.items():
            found.setdefault(name, []).append(share)
    return {name: round(float(np.mean(shares)), 3) for name, shares in found.items()}


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    model = load_model(flags.checkpoint)
    result: dict[str, Any] = stamp("jax") | {"people": flags.people, "clips": 7 * flags.people}
    with tempfile.TemporaryDirectory() as folder:
        for window, hop in ((2.0, 0.5), (2.0, 0.25), (1.0, 0.25)):
            found = compare(model, flags.people, Path(folder), window=window, hop=hop)
            result[f"window {window:g}, hop {hop:g}"] = found
            print(window, hop, found, flush=True)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
