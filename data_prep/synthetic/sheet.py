"""A contact sheet of synthetic clips: one row a class, time from left to right."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from upath import UPath

from data_prep.synthetic.render import render_frames
from data_prep.synthetic.sample import Picture, sample_clip
from data_prep.synthetic.script import CLASSES, MOTIONS
from data_prep.synthetic.voice import synthesise
from mmadfer_jax import files
from mmadfer_jax.errors import UserError

_SHARES = (0.06, 0.25, 0.50, 0.75, 0.97)  # of the clip, where frames are shown
_SIDE = 144  # pixels of a frame shown
_HEAD, _WAVE, _GAP = 26, 40, 12  # pixels of a row's title, of its wave, between clips


def contact_sheet(path: str | Path | UPath, *, seed: int = 0, columns: int = 2) -> Path | UPath:
    """Draws `columns` clips of each class, with five frames and the wave of each.

    Other people, each at the height of an expression, are shown below.

    Raises:
        UserError: The name does not end as that of a picture.
    """
    path = files.as_path(path)
    if not cv2.haveImageWriter(path.name):
        raise UserError(f"cannot write a picture to {path}; give a name that ends in .jpg or .png")
    rows = []
    for label, name in enumerate(CLASSES):
        row = np.hstack([_strip(label, seed + column) for column in range(columns)])[:, :-_GAP]
        title = np.full((_HEAD, row.shape[1], 3), 255, np.uint8)
        place, font = (4, _HEAD - 8), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(title, name, place, font, 0.55, (48, 48, 56), 1, cv2.LINE_AA)
        rows += [title, row]
    faces = _people(seed, 2 * columns * len(_SHARES))
    for row in np.array_split(faces, 2):
        blocks = [_gapped(np.hstack(block)) for block in np.array_split(row, columns)]
        rows.append(np.hstack(blocks)[:, :-_GAP])
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    files.make_folder(path.parent)
    files.write(path, data.tobytes())
    return path


def _strip(label: int, seed: int) -> np.ndarray:
    """Five frames of a clip over its wave, with a gap to the right."""
    clip = sample_clip(label, seed)
    track = clip.picture.track
    shown = track[[int(share * len(track)) for share in _SHARES]]
    row = np.hstack(_small(dataclasses.replace(clip.picture, track=shown)))
    wave = np.full((_WAVE, row.shape[1], 3), 255, np.uint8)
    for x, block in enumerate(np.array_split(np.abs(synthesise(clip.voice)), row.shape[1])):
        half = round(0.5 * (_WAVE - 6) * float(block.max()))
        wave[_WAVE // 2 - half : _WAVE // 2 + half + 1, x] = (70, 92, 128)
    return _gapped(np.vstack([row, wave]))


def _people(seed: int, count: int) -> list[np.ndarray]:
    """Other people, each at the height of an expression."""
    faces = []
    for k in range(count):
        picture = sample_clip(k % len(CLASSES), seed + 100 + k).picture
        track = picture.track.copy()
        track[:, -len(MOTIONS) :] *= 0.5  # no closed eyes
        peak = int(track[:, : -len(MOTIONS)].sum(axis=1).argmax())
        faces += _small(dataclasses.replace(picture, track=track[peak : peak + 1]))
    return faces


def _gapped(block: np.ndarray) -> np.ndarray:
    return np.pad(block, ((0, 0), (0, _GAP), (0, 0)), constant_values=255)


def _small(picture: Picture) -> list[np.ndarray]:
    size = (_SIDE, _SIDE)
    return [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in render_frames(picture)]
