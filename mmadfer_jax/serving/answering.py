"""From a clip that somebody sent to a folder of what is said of it."""

import dataclasses
import re
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmadfer_jax.errors import UserError, describe
from mmadfer_jax.serving.limits import Limits, check
from mmadfer_jax.serving.results import Results
from mmadfer_jax.timelines.cues import one_line
from mmadfer_jax.timelines.watching import Watching
from mmadfer_jax.trained import TrainedModel

ALL_FILES = "all_files.zip"
_LONGEST_NAME = 80  # letters
_OWN = ("timeline", "faces", "annotated", "report", "all_files", "seen")  # starts of our names

Progress = Callable[[float, str], None]  # share that is done, and what is being done


class Answering:
    """Answers for clips, and leaves nothing of them behind but what was asked for."""

    def __init__(self, model: TrainedModel, results: Results, limits: Limits):
        """Answers with a model, into folders of `results`."""
        self._model, self._results, self._limits = model, results, limits
        self._claims: Counter[Path] = Counter()
        self._lock = threading.Lock()

    def claim(self, upload: Path) -> None:
        """Keeps a file until it was answered for once more.

        The same clip from two people is one file.
        """
        with self._lock:
            self._claims[upload] += 1

    def release(self, upload: Path) -> None:
        """Deletes a file, unless somebody else still claims it."""
        with self._lock:
            self._claims[upload] -= 1
            if self._claims[upload] <= 0:
                del self._claims[upload]
                upload.unlink(missing_ok=True)

    def answer(self, upload: Path, progress: Progress, **settings: Any) -> Path:
        """Makes the folder with all files for a clip, and deletes the clip.

        Args:
            upload: The clip. Its name may be anything.
            progress: Called now and then.
            settings: Of `TrainedModel.timeline`.

        Raises:
            UserError: It cannot be answered for; no folder is left, and no path of this machine is
                told.
        """
        folder = self._results.new()
        video = folder / _clean(upload.name)
        try:
            shutil.copyfile(upload, video)
            self._fill(folder, video, progress, settings)
        except BaseException as error:
            self._results.drop(folder)
            if (text := _said(error)) is None:
                raise
            raise UserError(text.replace(f"{folder}/", "")) from error
        finally:
            video.unlink(missing_ok=True)
            self.release(upload)
        return folder

    def _fill(
        self, folder: Path, video: Path, progress: Progress, settings: dict[str, Any]
    ) -> None:
        progress(0, "looking at the file")
        check(video, self._limits)
        timeline = self._model.timeline(
            video,
            progress=lambda share: progress(0.8 * share, "looking and listening"),
            watching=Watching(folder),
            **settings,
        )
        progress(0.8, "writing the files")
        # Nobody elsewhere needs to know where things lie on this machine.
        timeline = dataclasses.replace(timeline, video=video.name, model=Path(timeline.model).name)
        timeline.save(folder, video=video)
        progress(0.98, "packing them")
        with zipfile.ZipFile(folder / ALL_FILES, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path not in (video, folder / ALL_FILES):
                    packed.write(path, path.relative_to(folder))


def _said(error: BaseException) -> str | None:
    """What to tell of an error; None where it is a bug."""
    if isinstance(error, FileNotFoundError):
        return "the clip is no longer here; choose it again"
    return describe(error) if isinstance(error, Exception) else None


def _clean(name: str) -> str:
    """A name that is safe on a disk, in a page and in a table, and that no other file here has."""
    name = re.sub(r'[/\\:*?"<>|]', "_", one_line(name)).strip(". ")
    path = Path(name or "clip")
    stem, suffix = path.stem[:_LONGEST_NAME], path.suffix[:8]
    return f"{'clip_' * stem.lower().startswith(_OWN)}{stem}{suffix}"
