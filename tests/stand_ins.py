"""File trees with the names of the real datasets and a few tiny clips under all of them."""

import importlib
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

from video_files import write_video

from data_prep import worker
from data_prep.datasets import mafw
from data_prep.listing import Listing
from data_prep.synthetic import render_clip
from mmadfer_jax.clips import faces, media
from mmadfer_jax.clips.frames import encode_jpeg

SIDE, FRAMES = 64, 18  # of a clip

# The test clips of each fold by class, in the order of the labels, in the published lists.
DFEW_FOLDS = {
    1: (489, 379, 534, 435, 294, 29, 181),
    2: (489, 379, 534, 435, 294, 29, 181),
    3: (489, 379, 534, 435, 294, 29, 180),
    4: (489, 379, 534, 434, 294, 29, 180),
    5: (489, 378, 533, 434, 293, 29, 180),
}
MAFW_FOLDS = {
    1: (249, 294, 228, 278, 215, 128, 125, 48, 184, 53, 37),
    2: (249, 294, 228, 278, 215, 128, 125, 47, 183, 53, 37),
    3: (248, 294, 228, 278, 214, 128, 125, 47, 183, 52, 36),
    4: (248, 294, 227, 278, 214, 128, 125, 47, 183, 52, 36),
    5: (248, 294, 227, 278, 214, 127, 125, 47, 183, 52, 36),
}


class Seeds:
    """A few clips to link under other names: videos, folders of frames and sound files."""

    def __init__(self, folder: Path, count: int = 3):
        self.videos, self.frames, self.sounds = [], [], []
        for number in range(count):
            whole = render_clip(number, 11 + number, folder / f"whole {number}.mp4")
            rgb = [faces.crop(f.rgb, (30, 20, 162, 152), SIDE) for f in media.read_video(whole)]
            wave, rate = media.read_sound(whole)
            samples = (wave[:1] * 32767).astype("int16")[:, : rate * FRAMES // 25]
            video, sound = folder / f"{number}.mp4", folder / f"{number}.wav"
            write_video(video, rgb[:FRAMES], sound=samples, sample_rate=rate)
            write_video(sound, [], sound=samples, sample_rate=rate, sound_codec="pcm_s16le")
            pictures = [folder / f"{number}_{place}.jpg" for place in range(FRAMES)]
            for path, picture in zip(pictures, rgb, strict=False):
                path.write_bytes(encode_jpeg(picture, 90))
            self.videos.append(video)
            self.frames.append(pictures)
            self.sounds.append(sound)
        self._next = itertools.cycle(range(count))

    def video(self, path: Path) -> None:
        """Puts a video at `path`."""
        _link(self.videos[next(self._next)], path)

    def sound(self, path: Path) -> None:
        """Puts a wav file at `path`."""
        _link(self.sounds[next(self._next)], path)

    def folder(self, path: Path, name: str = "{:05d}.jpg") -> None:
        """Fills the folder `path` with frames."""
        for number, picture in enumerate(self.frames[next(self._next)], 1):
            _link(picture, path / name.format(number))


def _link(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, path)


def numbered(folds: dict[int, tuple[int, ...]]) -> Iterator[tuple[int, int, int]]:
    """Clip number, fold and label for as many clips as the table counts, labels mixed."""
    numbers = itertools.count(1)
    for fold, counts in folds.items():
        left = list(counts)
        while any(left):
            for label, count in enumerate(left):
                if count:
                    left[label] -= 1
                    yield next(numbers), fold, label


def few(rows: Iterable[tuple[int, int, int]], each: int = 1) -> list[tuple[int, int, int]]:
    """The first clips of every fold and class."""
    seen: dict[tuple[int, int], int] = {}
    kept = []
    for number, fold, label in rows:
        seen[fold, label] = seen.get((fold, label), 0) + 1
        if seen[fold, label] <= each:
            kept.append((number, fold, label))
    return kept


def write_folds(root: Path, pattern: str, header: str, line, rows, encoding="utf-8") -> None:
    """Writes training and test lists of five folds; `line` makes one of a number and a label."""
    for fold in range(1, 6):
        for part in ("train", "test"):
            lines = [line(n, label) for n, f, label in rows if (f == fold) == (part == "test")]
            path = root / pattern.format(part=part, fold=fold)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Some of the published lists end without a newline.
            path.write_bytes((header + "\n".join(lines)).encode(encoding))


def dfew(root: Path, seeds: Seeds) -> None:
    """Face frames, original videos and the official lists."""
    rows = few(numbered(DFEW_FOLDS))
    dfew_official(root, rows)
    for number, _, _ in rows:
        name = f"{number:05d}"
        seeds.folder(root / "Clip/clip_224x224" / name, name + "_{:05d}.jpg")
        seeds.video(root / f"Clip/original/{number}.mp4")


def dfew_official(root: Path, rows) -> None:
    """The official lists, labels from 1."""
    pattern = "EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv"
    write_folds(root, pattern, "video_name,label\n", lambda n, label: f"{n},{label + 1}", rows)


def dfew_authors(root: Path, rows) -> None:
    """The lists as the authors of MMA-DFER have them, labels from 0."""
    where = "/home/someone/dfew/clip_224x224"
    pattern = "DFEW_set_{fold}_{part}.txt"
    write_folds(root, pattern, "", lambda n, label: f"{where}/{n:05d} 18 {label}", rows)


def mafw_single(root: Path, seeds: Seeds) -> None:
    """Videos and the official lists with captions, in GBK."""
    rows = few(numbered(MAFW_FOLDS))
    mafw_official(root, rows)
    for number, _, _ in rows:
        seeds.video(root / f"data/clips/{number:05d}.mp4")


def mafw_official(root: Path, rows) -> None:
    """Lists with captions, as the set has them."""
    pattern = "Train & Test Set/single/with_caption/set_{fold}/{part}.txt"

    def line(number, label):
        return f"{number:05d}.mp4\t{mafw.CLASSES[label]}\t一个女生大声说话。\tA girl speaks aloud."

    write_folds(root, pattern, "", line, rows, "gbk")


def mafw_authors(root: Path, rows) -> None:
    """The lists as the authors of MMA-DFER have them; the counts are one short."""
    where, pattern = "/home/someone/mafw/clips_faces", "MAFW_set_{fold}_{part}_faces.txt"
    write_folds(root, pattern, "", lambda n, label: f"{where}/{n:05d} 17 {label}", rows)


COMPOUND = ("anger", "fear", "anger_disgust", "fear_surprise", "helplessness_sadness")


def mafw_compound(root: Path, seeds: Seeds) -> None:
    """Five of the classes, faces cut out by someone, lists without captions."""
    rows = few(numbered(dict.fromkeys(range(1, 6), (1,) * len(COMPOUND))))
    pattern = "Train & Test Set/compound/no_caption/set_{fold}/{part}.txt"
    write_folds(root, pattern, "", lambda n, label: f"{n:05d}.mp4 {COMPOUND[label]}", rows)
    for number, _, _ in rows:
        seeds.folder(root / f"clips_faces/{number:05d}", "{:d}.jpg")


def crema_d(root: Path, seeds: Seeds) -> None:
    """Five actors; one clip has sound only."""
    for actor in range(1001, 1006):
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            name = f"{actor}_DFA_{emotion}_XX"
            seeds.sound(root / f"AudioWAV/{name}.wav")
            if name != "1003_DFA_FEA_XX":
                seeds.video(root / f"VideoFlash/{name}.flv")
    (root / "README.txt").write_text("not a clip")


def ravdess(root: Path, seeds: Seeds) -> None:
    """Every actor with one emotion; pictures without sound and songs lie beside."""
    for actor in range(1, 25):
        folder = root / f"Actor_{actor:02d}"
        rest = f"{1 + (actor - 1) % 8:02d}-01-01-01-{actor:02d}"
        seeds.video(folder / f"01-01-{rest}.mp4")
        seeds.video(folder / f"02-01-{rest}.mp4")
        seeds.video(folder / f"01-02-03-01-01-01-{actor:02d}.mp4")
        seeds.sound(folder / f"03-01-03-01-01-01-{actor:02d}.wav")


def ferv39k(root: Path, seeds: Seeds) -> None:
    """Frames of faces in two scenes."""
    emotions = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    for split, numbers in (("train", (10, 11)), ("test", (12,))):
        names = [
            f"{scene}/{emotion}/{number:04d} {emotion}"
            for scene in ("Action", "DailyLife")
            for emotion in emotions
            for number in numbers
        ]
        path = root / f"4_setups/All_scenes/{split}_All.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
        for name in names:
            seeds.folder(root / "2_ClipsforFaceCrop" / name.split()[0])


def afew(root: Path, seeds: Seeds) -> None:
    """Training and validation clips."""
    for split in ("train", "val"):
        for number, name in enumerate(
            ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
        ):
            seeds.video(root / split / name / f"00{split == 'val':d}0{number}.avi")


def mer2023(root: Path, seeds: Seeds) -> None:
    """Eighteen labelled clips."""
    emotions = ("neutral", "angry", "happy", "sad", "worried", "surprise")
    lines = ["name,discrete,valence"]
    for number in range(18):
        name = f"sample{number:08d}"
        lines.append(f"{name},{emotions[number % 6]},{number / 10 - 1.5}")
        seeds.video(root / f"train/{name}.mp4")
    (root / "train-label.csv").write_text("\n".join(lines) + "\n")


def enterface05(root: Path, seeds: Seeds) -> None:
    """Five subjects, with the irregular names there are."""
    emotions = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    for subject in (1, 3, 6, 11, 44):
        for emotion in emotions:
            folder = root / f"subject {subject}" / emotion
            if subject == 6:
                seeds.video(folder / f"s6_{emotion[:2]}_1.avi")
            else:
                odd = "s_3" if subject == 3 else f"s{subject}"
                seeds.video(folder / "sentence 1" / f"{odd}_{emotion[:2]}_1.avi")
    seeds.video(root / "samples/s1.avi")


def caer(root: Path, seeds: Seeds) -> None:
    """Three splits."""
    for split in ("train", "validation", "test"):
        for name in ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            seeds.video(root / split / name / "0001.avi")


def folder(root: Path, seeds: Seeds) -> None:
    """A folder a class, one clip of frames among the videos."""
    for name in ("laughs", "cries"):
        for number in range(5):
            seeds.video(root / name / f"clip {number}.mp4")
    seeds.folder(root / "laughs/clip 9")


TREES = {
    "dfew": dfew,
    "mafw": mafw_single,
    "mafw_compound": mafw_compound,
    "crema_d": crema_d,
    "ravdess": ravdess,
    "ferv39k": ferv39k,
    "afew": afew,
    "mer2023": mer2023,
    "enterface05": enterface05,
    "caer": caer,
    "folder": folder,
}


class Here(Executor):
    """Does the work of the pool in this process, which starts faster."""

    def __init__(self, workers, context, initializer, initargs):
        start, arguments = initargs
        start(*arguments)

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def outcomes_here(clips, settings, workers) -> Iterator[worker.Outcome]:
    """In place of `run.outcomes`: prepares in this process."""
    worker.load(settings)
    yield from map(worker.prepare, clips)


def list_dataset(name: str, source: Path, **flags) -> Listing:
    """What the command lists with these flags."""
    return importlib.import_module(f"data_prep.datasets.{name}").list_clips(source, **flags)
