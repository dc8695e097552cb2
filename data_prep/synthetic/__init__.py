"""Synthetic talking faces: a labelled dataset that needs sound, pictures and their order."""

from data_prep.synthetic.dataset import render_clip, render_dataset
from data_prep.synthetic.script import CLASSES, PAIR
from data_prep.synthetic.sheet import contact_sheet

__all__ = ["CLASSES", "PAIR", "contact_sheet", "render_clip", "render_dataset"]
