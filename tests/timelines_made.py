"""Timelines as the engine makes them, for the tests of what is written of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmadfer_jax.timelines.timeline import Faces, Segment, Timeline, Windows

CLASSES = ("happy", "sad", "neutral", "angry")
_DATA = {"name": "synthetic", "train": {"splits": ["train"], "clips": 616}}


def make_timeline(
    seconds: float = 6.0,
    *,
    people: int = 2,
    video: str = "interview.mp4",
    classes: Sequence[str] = CLASSES,
    size: tuple[int, int] = (320, 192),
    rate: float = 12.0,
    sound: bool = True,
    seed: int = 0,
) -> Timeline:
    """Person k is seen from 0.7 (k - 1) seconds on, and last not at all; some windows are doubtful.

    Faces are detected in every third frame. Without people there is a row of person 0 a window.
    """
    rng = np.random.default_rng(seed)
    count, window, hop = round(seconds * rate), 2.0, 0.5
    times = np.arange(count) / rate
    faces = _faces(times, people, size, rng)
    rows = []
    for start in np.arange(0, max(seconds - window, 0) + 1e-9, hop):
        rows += [(start, person) for person in range(1, people + 1) or (0,)]
    start, person = np.array(rows).T
    n, person = len(rows), person.astype(np.int32)
    logits = rng.normal(size=(n, len(classes))) * 2
    logits[np.arange(n), (start // 2 + person).astype(int) % len(classes)] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    seen = person > 0
    probabilities[~seen] = np.nan
    unseen = ~seen | (np.arange(n) % 5 == 3)
    notes = tuple(
        ("no face",) if not here else ("blurred", "quiet sound") if odd else ()
        for here, odd in zip(seen, unseen, strict=True)
    )
    measured = rng.random((5, n)).astype(np.float32)
    measured[:, ~seen] = np.nan
    level = rng.uniform(-40, -15, n) if sound else np.full(n, np.nan)
    if sound and n:
        level[0] = -np.inf
    windows = Windows(
        start=start,
        end=np.minimum(start + window, seconds),
        person=person,
        probabilities=probabilities.astype(np.float32),
        frames=np.full(n, round(window * rate), np.int32),
        face_share=np.where(seen, measured[0], 0).astype(np.float32),
        score=measured[1],
        face_size=measured[2] * 100,
        blur=measured[3] * 500,
        turned=measured[4],
        sound_level=level.astype(np.float32),
        speech=np.where(sound, rng.random(n), np.nan).astype(np.float32),
        notes=notes,
    )
    return Timeline(
        video=video,
        model="runs/demo",
        classes=tuple(classes),
        duration=seconds,
        num_frames=count,
        frame_rate=rate,
        size=size,
        sample_rate=16000 if sound else 0,
        window=window,
        hop=hop,
        windows=windows,
        faces=faces,
        segments=tuple(_segments(people, seconds, classes)),
        problems=() if sound else ("no sound",),
        settings={"person": "all", "card": {"data": _DATA}},
    )


def of_sound_alone(seconds: float = 6.0) -> Timeline:
    """Of a file without pictures: answers for person 0, and no notes."""
    made, heard = make_timeline(seconds, people=0), make_timeline(seconds, people=1)
    windows = dataclasses.replace(
        made.windows,
        probabilities=heard.windows.probabilities,
        frames=np.zeros_like(made.windows.frames),
        notes=((),) * len(made.windows.notes),
    )
    segments = tuple(dataclasses.replace(segment, person=0) for segment in heard.segments)
    return dataclasses.replace(
        made, windows=windows, segments=segments, num_frames=0, frame_rate=0.0, size=(0, 0)
    )


def _faces(
    times: np.ndarray, people: int, size: tuple[int, int], rng: np.random.Generator
) -> Faces:
    rows = [
        (frame, time, person)
        for frame, time in enumerate(times)
        for person in range(1, people + 1)
        if time >= 0.7 * (person - 1)
    ]
    frame, time, person = np.array(rows).reshape(-1, 3).T
    frame, person = frame.astype(np.int32), person.astype(np.int32)
    width, height = size
    detected = frame % 3 == 0
    side = height / 2
    left = width / (people + 1) * person - side / 2 + 6 * np.sin(2 * time)
    top = height / 4 + 4 * np.cos(3 * time)

    def measured(low: float, high: float) -> np.ndarray:
        return np.where(detected, rng.uniform(low, high, len(rows)), np.nan).astype(np.float32)

    return Faces(
        frame=frame,
        time=time,
        person=person,
        box=np.stack([left, top, left + side, top + side], axis=1).astype(np.float32),
        score=measured(0.9, 1),
        detected=detected,
        blur=measured(20, 400),
        turned=measured(0, 1),
    )


def _segments(people: int, seconds: float, classes: Sequence[str]) -> list[Segment]:
    """Of a third of the video each, the second of three not there; people overlap."""
    third, made = seconds / 3, []
    for person in range(1, people + 1):
        for part in (0, 2):
            start = part * third + 0.1234 * person
            label = classes[(person + part) % len(classes)]
            doubtful = 0.75 if part and person == 1 else 0.0
            end = min(start + third, seconds)
            made.append(Segment(person, start, end, label, 0.8125 - 0.1 * part, doubtful))
    return sorted(made, key=lambda segment: (segment.start, segment.person))
