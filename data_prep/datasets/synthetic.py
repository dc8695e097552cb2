"""Synthetic talking faces: rendered here, then prepared like any folder of videos."""

import argparse

from data_prep.datasets import folder
from data_prep.listing import Listing
from data_prep.plan import VIDEO_FOLDER
from data_prep.report import terminal
from data_prep.synthetic import CLASSES, render_dataset

FLAGS = ("source", "clips", "seed")
DEFAULT_CLIPS = 200


def from_flags(flags: argparse.Namespace) -> Listing:
    """Renders the clips, or those that an interrupted run left to render, and lists them.

    The videos go to `--source`, or to a folder inside `--out`.

    Raises:
        UserError: Too few clips, or the folder of the videos holds something else.
    """
    source = flags.source or flags.out / VIDEO_FOLDER
    clips = flags.clips or DEFAULT_CLIPS
    with terminal.progress(clips, "rendering") as advance:
        labels = render_dataset(
            source,
            clips=clips,
            seed=flags.seed or 0,
            workers=flags.workers,
            progress=terminal.steps(advance),
        )
    return folder.list_clips(source, labels, CLASSES, name="synthetic")
