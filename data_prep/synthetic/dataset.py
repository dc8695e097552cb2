"""Writes synthetic clips as mp4 files with a table of labels and splits."""

import csv
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_prep.synthetic.render import SIDE, render_frames
from data_prep.synthetic.sample import SAMPLE_RATE, sample_clip
from data_prep.synthetic.script import CLASSES
from data_prep.synthetic.voice import synthesise
from mmadfer_jax.errors import UserError

_VERSION = 3  # raise it when the same seed gives other clips
_SETTINGS_FILE = "synthetic.json"
_LABELS_FILE = "labels.csv"


def render_dataset(
    folder: Path,
    *,
    clips: int,
    seed: int = 0,
    workers: int | None = None,
    test_share: float = 0.2,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Renders a labelled dataset; clips that an earlier run has finished are kept.

    As in acted datasets every person plays every class, here with the same head motion, pace and
    speaker, so that nothing but the class itself tells two clips of a person apart; and no person
    is in both splits.

    Args:
      folder: gets `clips/*.mp4`, `labels.csv` (path, label, split) and `synthetic.json`.
      clips: how many; where that is no multiple of the classes, the last person lacks some.
      seed: of everything.
      workers: processes; None for one a core.
      test_share: share of the persons in the split "test".
      progress: called with the number of finished clips.

    Returns:
      The path of `labels.csv`, which is written last.

    Raises:
      UserError: settings that give no dataset, or a folder that holds something else.
    """
    if clips < 2 * len(CLASSES) or not 0 < test_share < 1:
        raise UserError(
            f"{clips} clips with a test share of {test_share} do not put a clip of each of the "
            f"{len(CLASSES)} classes into train and test; ask for {2 * len(CLASSES)} clips or "
            "more and a share between 0 and 1"
        )
    if seed < 0:
        raise UserError(f"seed {seed} is negative; seeds are 0 or more")
    folder = Path(folder)
    _claim(folder, {"version": _VERSION, "clips": clips, "seed": seed, "test_share": test_share})
    rows = _assign(clips, seed, test_share)
    jobs = [
        (CLASSES.index(label), person_seed(seed, person), folder / path)
        for path, label, _, person in rows
        if not (folder / path).exists()
    ]
    done = clips - len(jobs)
    for _ in _render_all(jobs, workers or os.cpu_count() or 1):
        done += 1
        if progress:
            progress(done)
    table = folder / _LABELS_FILE
    part = table.with_suffix(".csv.part")
    with part.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *(row[:3] for row in rows)])
    part.replace(table)
    return table


def render_clip(label: int, seed: int, path: Path) -> Path:
    """Renders one clip of class `CLASSES[label]` to an mp4 file and returns its path."""
    if not 0 <= label < len(CLASSES):
        raise UserError(f"label {label} is not one of the {len(CLASSES)} classes {CLASSES}")
    clip = sample_clip(label, seed)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        write_mp4(part, render_frames(clip.picture), clip.picture.fps, synthesise(clip.voice))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def write_mp4(path: Path, frames: Iterator[np.ndarray], fps: int, wave: np.ndarray) -> None:
    """Writes RGB frames [SIDE, SIDE, 3] as H.264 and a wave [samples] as AAC."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        picture = file.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "19"})
        picture.width = picture.height = SIDE
        picture.pix_fmt = "yuv420p"
        # One thread: the same bytes on machines with other numbers of cores.
        picture.thread_count = 1
        sound = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        sound.bit_rate = 48_000
        for image in frames:
            file.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        samples.sample_rate = SAMPLE_RATE
        samples.time_base = Fraction(1, SAMPLE_RATE)
        samples.pts = 0
        file.mux(sound.encode(samples))
        file.mux(sound.encode(None))


def person_seed(seed: int, person: int) -> int:
    """The seed of all clips of a dataset's person."""
    return int(np.random.SeedSequence([seed, person]).generate_state(1, np.uint64)[0])


def _claim(folder: Path, settings: dict) -> None:
    """Makes the folder this dataset's, or raises when it is another's."""
    file = folder / _SETTINGS_FILE
    if file.exists():
        try:
            found = json.loads(file.read_text())
        except json.JSONDecodeError:
            found = "unreadable"
        if found != settings:
            raise UserError(
                f"{folder} holds synthetic clips of other settings ({found}), wanted {settings}; "
                "use the same settings, another folder, or delete this one"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} is not empty and has no {_SETTINGS_FILE}, so it is not a folder of "
            "synthetic clips; choose another folder or empty this one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n")


def _assign(clips: int, seed: int, test_share: float) -> list[tuple[str, str, str, int]]:
    """Path, label, split and person of every clip, shuffled."""
    persons = -(-clips // len(CLASSES))
    test = min(max(round(persons * test_share), 1), persons - 1)
    rows = []
    for i in range(clips):
        person, label = divmod(i, len(CLASSES))
        rows.append((CLASSES[label], "test" if person < test else "train", person))
    order = np.random.default_rng([seed, 0x5EED]).permutation(clips)
    return [(f"clips/clip_{i:05d}.mp4", *rows[j]) for i, j in enumerate(order, start=1)]


def _render_all(jobs: list[tuple[int, int, Path]], workers: int) -> Iterator[None]:
    """Renders jobs in processes, or here when one is enough; yields after each."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(_render_job, jobs)
        return
    # Spawned: forking a process that runs JAX can hang.
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        yield from pool.imap_unordered(_render_job, jobs, chunksize=4)


def _start_worker() -> None:
    cv2.setNumThreads(0)


def _render_job(job: tuple[int, int, Path]) -> None:
    render_clip(*job)
