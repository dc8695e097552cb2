"""Synthetic talking faces: rendered here, then prepared like any folder of videos."""

from pathlib import Path

from data_prep.datasets.label_table import list_table
from data_prep.listing import Listing
from data_prep.plan import VIDEO_FOLDER
from data_prep.report import terminal
from data_prep.synthetic import CLASSES, PAIR, render_dataset
from mmadfer_jax import files
from mmadfer_jax.errors import UserError


def list_clips(
    out: Path,
    source: Path | None = None,
    clips: int = 200,
    seed: int = 0,
    workers: int | None = None,
    pair: bool = False,
) -> Listing:
    """Renders the clips, or those that an interrupted run left to render, and lists them.

    Args:
        out: The folder of the prepared dataset.
        source: Folder for the videos; one inside `out` if None.
        clips: How many.
        seed: Of the rendering.
        workers: Processes; None for one a core.
        pair: Whether there are two classes more, which picture and sound tell only together.

    Raises:
        UserError: Too few clips, or the folder of the videos holds something else or is a URL.
    """
    source = source or out / VIDEO_FOLDER
    if files.is_remote(source):
        raise UserError(f"{source}: videos are rendered to the disk; name a folder with --source")
    with terminal.progress(clips, "rendering") as advance:
        labels = render_dataset(
            source,
            clips=clips,
            seed=seed,
            workers=workers,
            pair=pair,
            progress=terminal.steps(advance),
        )
    return list_table(source, labels, CLASSES + PAIR if pair else CLASSES, name="synthetic")
