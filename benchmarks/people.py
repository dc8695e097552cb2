"""Counts how often a timeline takes one person for another, in rendered scenes of known ways.

    python benchmarks/people.py --out=benchmarks/results/people.json

For each scene (`scenes.py`): frames in which a face was missed, boxes that are no face, switches
(the number of a person changes from the one it had before; Bernardin and Stiefelhagen, 2008), and
IDF1, the share of frames in which person and number agree under the best one-to-one pairing of
persons and numbers (Ristani et al., 2016). Faces are drawn, so people who come back are told by
the colours of face and hair, in place of a network for photographs; `--alone` leaves that out.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from scenes import RATE, Actor, Scene, away, fixed, still, walk, write
from scipy.optimize import linear_sum_assignment

from mmadfer_jax.clips.clip import PrepareSettings, make_detector
from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.timelines.timeline import Faces, Timeline
from mmadfer_jax.videos.engine import Answerer, make_timeline
from mmadfer_jax.videos.people import overlap
from mmadfer_jax.videos.settings import TimelineSettings

# What colours people have on average, row by row from the hair to the chin, in CIELAB of 8 bits.
LIGHT = (98, 119, 146, 128, 159, 133, 126, 113)
USUAL = np.stack([LIGHT, np.full(8, 140), np.full(8, 143)], axis=1).astype(np.float32)  # [8, 3]
MATCH = 0.4  # intersection over union, from which on a box is that of a face


def bounce(start: float, turn: float, seconds: float) -> Any:
    """Someone who walks to a place and back again."""
    there = walk(start, turn, seconds / 2)
    back = walk(turn, start, seconds / 2)
    return lambda t: there(t) if t < seconds / 2 else back(t - seconds / 2)


def wander(seed: int) -> Any:
    """Someone who goes about."""
    rng = np.random.default_rng(seed)
    hertz, phase = rng.uniform(0.08, 0.2, 2), rng.uniform(0, 6.28, 2)
    return lambda t: (
        320 + 220 * math.sin(6.28 * hertz[0] * t + phase[0]),
        190 + 60 * math.sin(6.28 * hertz[1] * t + phase[1]),
        200,
    )


SCENES: dict[str, tuple[Scene, ...]] = {
    "one person": (Scene(6, (Actor(3, still(320)),)),),
    "two side by side": (Scene(6, (Actor(3, still(180)), Actor(8, still(460)))),),
    "two cross": (Scene(6, (Actor(3, walk(110, 530, 6)), Actor(8, walk(530, 110, 6)))),),
    "two cross fast": (Scene(3, (Actor(3, walk(110, 530, 2.5)), Actor(8, walk(530, 110, 2.5)))),),
    "two meet and turn back": (
        Scene(6, (Actor(3, bounce(110, 300, 6)), Actor(8, bounce(530, 340, 6)))),
    ),
    "one leaves and returns": (Scene(9, (Actor(3, still(180)), Actor(8, away(still(460), 3, 6)))),),
    "a cut and back": (
        Scene(3, (Actor(3, still(320)),)),
        Scene(3, (Actor(8, still(320)),), room=1),
        Scene(3, (Actor(3, still(320)),)),
    ),
    "a photo on the wall": (Scene(6, (Actor(7, fixed(120), photo=True), Actor(3, still(430)))),),
    "three go about": (Scene(12, tuple(Actor(s, wander(s)) for s in (3, 8, 9))),),
    "four go about": (Scene(12, tuple(Actor(s, wander(s + 1)) for s in (3, 7, 8, 9))),),
}


def timeline_of(video: Path, recognise: Any = None, **settings: Any) -> Timeline:
    """A timeline whose model knows nothing, for the boxes."""
    model = Answerer(
        name="nobody",
        classes=("a", "b"),
        reading=Reading(num_frames=2, length=64),
        preparation=PrepareSettings(image_size=32),
        ask=lambda frames, sound: np.full((len(frames), 2), 0.5),
        make_detector=make_detector,
        recognise=recognise,
        batch=1,
        about={},
    )
    return make_timeline(video, model, TimelineSettings(**settings))


def by_colour(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Stands for a network that tells drawn people apart: how face and hair are coloured."""
    left, top = landmarks.min(axis=0)
    right, bottom = landmarks.max(axis=0)
    wide, high = right - left, bottom - top
    rows = slice(max(0, int(top - 1.3 * high)), int(bottom + 0.6 * high))
    part = rgb[rows, max(0, int(left - 0.4 * wide)) : int(right + 0.4 * wide)]
    small = cv2.cvtColor(cv2.resize(part, (4, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    found = (small - USUAL[:, None]).ravel() ** 3  # what stands out
    return found / np.linalg.norm(found)


def compare(faces: Faces, truth: Sequence[dict[int, np.ndarray]]) -> dict[str, Any]:
    """Counts what went wrong."""
    pairs: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    missed = switches = matched = 0
    for frame, seen in enumerate(truth):
        rows = np.flatnonzero(faces.frame == frame)
        for actor, box in seen.items():
            near = {int(faces.person[row]): overlap(faces.box[row], box) for row in rows}
            number = max(near, key=near.get, default=0)
            if not number or near[number] < MATCH:
                missed += 1
                continue
            matched += 1
            switches += last.get(actor, number) != number
            last[actor] = number
            pairs[actor, number] = pairs.get((actor, number), 0) + 1
    actors, numbers = ({pair[i] for pair in pairs} for i in (0, 1))
    table = np.array([[pairs.get((a, n), 0) for n in sorted(numbers)] for a in sorted(actors)])
    agreed = table[linear_sum_assignment(table, maximize=True)].sum() if pairs else 0
    shown = sum(map(len, truth))
    return {
        "people": len({actor for seen in truth for actor in seen}),
        "numbers": len(np.unique(faces.person)),
        "faces": shown,
        "missed": missed,
        "no_face": len(faces.frame) - matched,
        "switches": switches,
        "idf1": round(float(2 * agreed / (shown + len(faces.frame))), 3),
    }


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help="nothing tells who comes back")
    parser.add_argument("--every", type=int, action="append", help="frames between searches")
    flags = parser.parse_args()
    result: dict[str, Any] = stamp("scipy", "onnxruntime") | {"rate": RATE, "scenes": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, scenes in SCENES.items():
            video = write(Path(folder, "scene.mp4"), scenes, voice=None)
            truth = [seen for scene in scenes for seen in scene.truth()]
            for every in flags.every or [1, 5, 10]:
                recognise = None if flags.alone else by_colour
                found = timeline_of(video, recognise, detect_every=every)
                row = compare(found.faces, truth)
                result["scenes"].setdefault(name, {})[every] = row
                print(f"{name:24s} {every:3d}", row, flush=True)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
