"""Writes synthetic clips as mp4 files with a table of labels and splits."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from upath import UPath

from data_prep import pool
from data_prep.listing import some
from data_prep.synthetic.render import SIDE, render_frames
from data_prep.synthetic.sample import SAMPLE_RATE, Clip, sample_clip
from data_prep.synthetic.script import CLASSES, PAIR, TAKES
from data_prep.synthetic.voice import synthesise
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

_VERSION = 4  # raise it when the same seed gives other clips
_SETTINGS_FILE = "synthetic.json"
_LABELS_FILE = "labels.csv"
_CLIPS_FOLDER = "clips"
_QUICK_AAC = {"aac_coder": "fast"}  # in less than half of the time


class _Part(NamedTuple):
    """What a person plays in a clip: an index into `CLASSES + PAIR`, and one into its takes."""

    label: int
    take: int


class _Person(NamedTuple):
    """Clips to render in one go: the person's seed, and the part of each by its path."""

    seed: int
    parts: dict[str, _Part]


def render_dataset(
    folder: str | Path | UPath,
    *,
    clips: int,
    seed: int = 0,
    workers: int | None = None,
    test_share: float = 0.2,
    pair: bool = False,
    progress: Callable[[int], None] = lambda clips: None,
) -> Path | UPath:
    """Renders a labelled dataset; clips that an earlier run has finished are kept.

    As in acted datasets every person plays every class, here with the same head motion, pace and
    speaker, so that nothing but the class itself tells two clips of a person apart; and no person
    is in both splits.

    Args:
        folder: Gets `clips/*.mp4`, `labels.csv` (path, label, split) and `synthetic.json`.
        clips: How many; where that is no multiple of a person's clips, the last one lacks some. A
            person has a clip of each class, and two of each class of the pair.
        seed: Of everything.
        workers: Processes; None for one a core.
        test_share: Share of the persons in the split "test".
        pair: Whether there are two classes more, which picture and sound tell only together.
        progress: Called with the number of finished clips.

    Returns:
        The path of `labels.csv`, which is written last.

    Raises:
        UserError: Settings that give no dataset, a folder that holds something else or that
            another command renders into, or a worker died. What is finished by then stays; the
            same call goes on.
    """
    parts = _parts(pair)
    if clips < 2 * len(parts) or not 0 < test_share < 1:
        raise UserError(
            f"{clips} clips with a test share of {test_share} do not put a person with all of "
            f"{len(parts)} clips into train and test; ask for {2 * len(parts)} clips or more and "
            "a share between 0 and 1"
        )
    if seed < 0:
        raise UserError(f"seed {seed} is negative; seeds are 0 or more")
    folder = files.as_path(folder)
    settings = {"version": _VERSION, "clips": clips, "seed": seed, "test_share": test_share}
    settings |= {"pair": True} if pair else {}  # folders of before go on
    _refuse_other(folder, settings)
    with files.lock(folder):
        _refuse_other(folder, settings)  # another command may have been quicker
        files.write(folder / _SETTINGS_FILE, json.dumps(settings, indent=1) + "\n")
        files.make_folder(folder / _CLIPS_FOLDER)
        files.sweep(folder / _CLIPS_FOLDER)
        rows = _assign(clips, seed, test_share, parts)
        finished = {f"{_CLIPS_FOLDER}/{name}" for name in files.names(folder / _CLIPS_FOLDER)}
        persons: dict[int, _Person] = {}
        for path, part, _, person in rows:
            if path not in finished:
                empty = _Person(person_seed(seed, person), {})
                persons.setdefault(person, empty).parts[path] = part
        done = len(rows) - sum(len(person.parts) for person in persons.values())
        films = _render([*persons.values()], workers or os.cpu_count() or 1)
        with contextlib.closing(films):
            for number, (path, film) in enumerate(films, done + 1):
                files.write(folder / path, film)
                progress(number)
        table = io.StringIO()
        lines = [(path, (CLASSES + PAIR)[part.label], split) for path, part, split, _ in rows]
        csv.writer(table).writerows([("path", "label", "split"), *lines])
        files.write(folder / _LABELS_FILE, table.getvalue())
    return folder / _LABELS_FILE


def render_clip(label: int, seed: int, path: str | Path | UPath, take: int = 0) -> Path | UPath:
    """Renders one clip of class `(CLASSES + PAIR)[label]` to an mp4 file and returns its path.

    Raises:
        UserError: There is no such class, or it has no such take.
    """
    classes = CLASSES + PAIR
    if not 0 <= label < len(classes):
        raise UserError(f"label {label} is not one of the {len(classes)} classes {classes}")
    if not 0 <= take < len(TAKES[classes[label]]):
        raise UserError(f"{classes[label]} has {len(TAKES[classes[label]])} take(s), not {take}")
    path = files.as_path(path)
    files.make_folder(path.parent)
    clip = sample_clip(label, seed, take)
    files.write(path, _encode(clip, synthesise(clip.voice)))
    return path


def encode_mp4(frames: Iterable[np.ndarray], fps: int, wave: np.ndarray) -> bytes:
    """An mp4 file of RGB frames [SIDE, SIDE, 3] as H.264 and a wave [samples] as AAC."""
    data, to_yuv = io.BytesIO(), VideoReformatter()
    with av.open(data, "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        picture = file.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "19"})
        picture.width = picture.height = SIDE
        picture.pix_fmt = "yuv420p"
        # One thread: the same bytes on machines with other numbers of cores.
        picture.thread_count = 1
        sound = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options=_QUICK_AAC)
        sound.bit_rate = 48_000
        for image in frames:
            rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
            file.mux(picture.encode(to_yuv.reformat(rgb, format="yuv420p", threads=1)))
        file.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        samples.sample_rate = SAMPLE_RATE
        samples.time_base = Fraction(1, SAMPLE_RATE)
        samples.pts = 0
        file.mux(sound.encode(samples))
        file.mux(sound.encode(None))
    return data.getvalue()


def person_seed(seed: int, person: int) -> int:
    """The seed of all clips of a dataset's person."""
    return int(np.random.SeedSequence([seed, person]).generate_state(1, np.uint64)[0])


def _refuse_other(folder: Path | UPath, settings: dict) -> None:
    """Raises where the folder holds something else than a dataset of these settings."""
    file = folder / _SETTINGS_FILE
    if files.is_file(file):
        try:
            found = json.loads(files.read_text(file))
        except ValueError:
            found = "unreadable"
        if found != settings:
            raise UserError(
                f"{folder} holds synthetic clips of other settings ({found}), wanted {settings}; "
                "use the same settings, another folder, or delete this one"
            )
    elif set(files.names(folder)) - {files.LOCK}:
        raise UserError(
            f"{folder} is not empty and has no {_SETTINGS_FILE}, so it is not a folder of "
            "synthetic clips; choose another folder or empty this one"
        )


def _parts(pair: bool) -> list[_Part]:
    """What every person plays."""
    classes = CLASSES + PAIR if pair else CLASSES
    return [
        _Part(label, take) for label, name in enumerate(classes) for take in range(len(TAKES[name]))
    ]


def _assign(
    clips: int, seed: int, test_share: float, parts: Sequence[_Part]
) -> list[tuple[str, _Part, str, int]]:
    """Path, part, split and person of every clip, shuffled."""
    persons = -(-clips // len(parts))
    test = min(max(round(persons * test_share), 1), persons - 1)
    rows = []
    for i in range(clips):
        person, part = divmod(i, len(parts))
        rows.append((parts[part], "test" if person < test else "train", person))
    order = np.random.default_rng([seed, 0x5EED]).permutation(clips)
    return [(f"clips/clip_{i:05d}.mp4", *rows[j]) for i, j in enumerate(order, start=1)]


def _render(persons: Sequence[_Person], workers: int) -> Iterator[tuple[str, bytes]]:
    """Renders in processes; yields path and content of each clip."""
    try:
        for films in pool.in_order(_films, persons, workers, cv2.setNumThreads, 1):
            yield from films
    except pool.WorkerDiedError as error:
        raise UserError(
            "a worker process died, rendering one of: "
            f"{some(path for person in error.tasks for path in person.parts)}; the same command "
            "goes on from there (with fewer --workers if memory ran out)"
        ) from error


def _films(person: _Person) -> list[tuple[str, bytes]]:
    films, waves = [], {}
    for path, part in person.parts.items():
        clip = sample_clip(part.label, person.seed, part.take)
        manner = TAKES[(CLASSES + PAIR)[part.label]][part.take].voice
        if manner not in waves:  # several classes share a voice
            waves[manner] = synthesise(clip.voice)
        films.append((path, _encode(clip, waves[manner])))
    return films


def _encode(clip: Clip, wave: np.ndarray) -> bytes:
    return encode_mp4(render_frames(clip.picture), clip.picture.fps, wave)
