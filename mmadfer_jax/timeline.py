"""Timelines of videos: `python -m mmadfer_jax.timeline VIDEO_OR_FOLDER --checkpoint=M --out=D`."""

import argparse
import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmadfer_jax import files
from mmadfer_jax.clips.media import SOUND_SUFFIXES, VIDEO_SUFFIXES
from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.models.config import DTYPES
from mmadfer_jax.timelines import save, watching
from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.trained import TrainedModel, load_model
from mmadfer_jax.videos.progress import progress
from mmadfer_jax.videos.settings import TimelineSettings

SUMMARY = "summary.csv"
USUAL_FORMATS = tuple(name for name in save.FORMATS if name != "video")  # it takes its time


def list_videos(named: Sequence[Path]) -> dict[str, Path]:
    """The videos and sound files that are meant, by the folder of each in the output folder.

    A folder stands for all such files in it and below it, by their endings; other files are named
    themselves. Each gets a folder of its name, ending and all, below those it is in.

    Raises:
        UserError: Nothing is there, or two would get the same folder.
    """
    found: dict[str, Path] = {}
    for path in named:
        below = [path]
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if _is_media(p))
            if not below:
                raise UserError(f"{path}: no video or sound file in it")
        for video in below:
            name = video.relative_to(path).as_posix() if path.is_dir() else video.name
            if found.setdefault(name, video) != video:
                raise UserError(
                    f"{found[name]} and {video} would both be written to {name}; give the folder "
                    "that holds both, or two commands with an --out each"
                )
    return found


def _is_media(path: Path) -> bool:
    is_one = path.suffix.lower() in (*VIDEO_SUFFIXES, *SOUND_SUFFIXES)
    return is_one and not path.name.startswith(".") and path.is_file()


class Watcher:
    """Makes timelines of videos and writes them.

    Args:
        model: Who is asked.
        settings: Of the timelines.
        formats: Those of `save.FORMATS` that are wanted.
        batch: Windows that the model is asked about at once.
    """

    def __init__(
        self,
        model: TrainedModel,
        settings: TimelineSettings,
        formats: Sequence[str],
        batch: int | None = None,
    ):
        self._model, self._settings = model, settings
        self._formats, self._batch = tuple(formats), batch
        asked = {**settings.to_dict(), **model.about(settings.face_embedding)}
        self._asked = json.loads(json.dumps(asked))  # as it is read back

    def watch(self, video: Path, folder: Path) -> Timeline:
        """Gives the timeline of a video, from its folder if it is there, and writes what lacks.

        Raises:
            UserError: The video cannot be used.
        """
        stamp = _stamp(video)
        timeline = self._already(folder, stamp)
        written = timeline.settings["formats"] if timeline else ()
        if timeline is None:
            timeline = self._made(video, folder)
        lacking = [name for name in self._formats if name not in written]
        if lacking or not written:
            formats = [name for name in save.FORMATS if name in (*lacking, *written)]
            settings = {**timeline.settings, "file": stamp, "formats": formats}
            timeline = dataclasses.replace(timeline, settings=settings)
            timeline.save(folder, lacking, video)
        return timeline

    def _made(self, video: Path, folder: Path) -> Timeline:
        chosen, drawn = dataclasses.asdict(self._settings), folder / watching.FOLDER
        files.remove(drawn)
        draw = watching.Watching(folder) if "html" in self._formats else None
        try:
            with progress(video.name) as show:
                return self._model.timeline(
                    video, progress=show, watching=draw, batch=self._batch, **chosen
                )
        except BaseException:
            files.remove(drawn)
            with contextlib.suppress(OSError):  # there was no folder, or it holds something
                folder.rmdir()
            raise

    def _already(self, folder: Path, stamp: dict[str, Any]) -> Timeline | None:
        """What was saved of the same file by the same settings and model, if it is whole."""
        try:
            timeline = save.read(folder)
        except UserError:
            return None
        found = timeline.settings
        same = found.get("file") == stamp and "formats" in found
        as_asked = all(found.get(name) == value for name, value in self._asked.items())
        return timeline if same and as_asked else None


def _stamp(video: Path) -> dict[str, Any]:
    """Tells a file from another one of its name."""
    if not video.is_file():
        raise UserError(f"{video}: no such file")
    found = video.stat()
    return {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}


def watch_all(watcher: Watcher, videos: dict[str, Path], out: Path) -> int:
    """Watches videos one after the other, and writes what became of each; how many failed."""
    rows, failed = [], 0
    for number, (name, video) in enumerate(videos.items(), 1):
        try:
            timeline = watcher.watch(video, out / name)
        except UserError as error:
            reason = str(error)
        except OSError:  # the disk is full, and would be for the next one
            raise
        except Exception as error:  # the others are watched all the same
            traceback.print_exc()
            reason = f"an error of this program, please report it: {error!r}"
        else:
            reason = ""
            rows += save.summarise(timeline)
            print(f"{number}/{len(videos)} {_said(timeline)}", flush=True)
        if reason:
            failed += 1
            rows.append(save.failure(str(video), reason))
            print(f"error: {reason}", file=sys.stderr, flush=True)
        save.write_summary(rows, out / SUMMARY)
    return failed


def _said(timeline: Timeline) -> str:
    """A timeline in a line."""
    people = [person for person in timeline.persons if person]
    seconds = round(timeline.duration)
    who = "sound alone" if timeline.persons == (0,) else f"{len(people)} people"
    text = f"{timeline.video}: {seconds // 60}:{seconds % 60:02}, {who}"
    return "; ".join([text, *timeline.problems])


def _arguments() -> argparse.Namespace:
    usual = TimelineSettings()
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.timeline", description=__doc__)
    parser.add_argument("video", nargs="+", type=Path, help="videos, sound files or folders")
    parser.add_argument("--checkpoint", required=True, help="a run's --workdir, or a file")
    parser.add_argument("--out", required=True, type=Path, help="folder, one below for each video")
    seconds = {"type": float, "metavar": "SECONDS", "help": "default %(default)s"}
    parser.add_argument("--window", default=usual.window, **seconds)
    parser.add_argument("--hop", default=usual.hop, **seconds)
    parser.add_argument("--person", default=usual.person, help="all, largest, or a number")
    parser.add_argument(
        "--detect_every", type=int, metavar="FRAMES", help="default 0.2 s of the video"
    )
    parser.add_argument("--min_face", type=int, default=usual.min_face, metavar="PIXELS")
    parser.add_argument("--no-sound", dest="sound", action="store_false")
    parser.add_argument("--no-picture", dest="picture", action="store_false")
    parser.add_argument(
        "--face_embedding", metavar="FILE", help="SFace's, to know people again; or none"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="in which the model multiplies (as it was trained)"
    )
    parser.add_argument("--face_model", metavar="ONNX", help="YuNet's file, if prepared with it")
    parser.add_argument("--batch", type=int, help="windows asked at once")
    parser.add_argument(
        "--formats", default=",".join(USUAL_FORMATS), help="of " + ", ".join(save.FORMATS)
    )
    return parser.parse_args()


@exit_on_user_error
def main() -> None:
    """The command."""
    arguments = _arguments()
    names = [field.name for field in dataclasses.fields(TimelineSettings)]
    chosen = {name: getattr(arguments, name) for name in names}
    if chosen["person"].isdecimal():
        chosen["person"] = int(chosen["person"])
    settings, formats = TimelineSettings(**chosen), save.parse_formats(arguments.formats)
    videos = list_videos(arguments.video)
    model = load_model(arguments.checkpoint, arguments.face_model, dtype=arguments.dtype)
    for note in model.notes + model.card.notes:
        print(f"note: {note}", file=sys.stderr)
    with files.lock(arguments.out):
        watcher = Watcher(model, settings, formats, arguments.batch)
        failed = watch_all(watcher, videos, arguments.out)
    if failed:
        summary = arguments.out / SUMMARY
        sys.exit(f"{failed} of {len(videos)} videos could not be answered for, see {summary}")


if __name__ == "__main__":
    main()
