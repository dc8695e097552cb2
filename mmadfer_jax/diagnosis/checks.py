"""What prepared clips look like without any model: oddities that spoil figures in silence."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips import audio
from mmadfer_jax.clips.clip import NATIVE
from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.errors import UserError

_MOST = 200  # clips that are looked at
_PHONE = 8200.0  # Hz, above which sound that once had 16 kHz has nothing
_EMPTY = audio.LOWEST + 2
_FAINT = 3.0  # grey levels between colours, or between frames, that JPEG alone can make


class Look(NamedTuple):
    """One clip's: rate, whether bands above 8 kHz are empty, level, and of its frames the rest."""

    rate: int
    was_16k: bool
    level: float
    spread: float
    grey: bool
    still: bool
    brightness: float


def look_at(source: RecordSource, card: ModelCard) -> tuple[dict[str, Any], list[str]]:
    """Reads some clips.

    Args:
        source: The clips.
        card: Of the model that is to see them.

    Returns:
        What was counted, as JSON takes it, and what is odd about it, a sentence each.

    Raises:
        UserError: A record is corrupt.
    """
    places = np.unique(np.linspace(0, len(source) - 1, min(_MOST, len(source))).astype(int))
    looks = [_look(source[place], card) for place in places]
    heard = [look for look in looks if look.rate]
    found = {
        "clips": len(looks),
        "sample_rates": {str(rate): n for rate, n in Counter(x.rate for x in heard).most_common()},
        "without_sound": _share([not look.rate for look in looks]),
        "nothing_above_8_khz": _share([look.was_16k for look in heard]),
        "log_mel_mean": float(np.mean([x.level for x in heard])) if heard else None,
        "log_mel_std": float(np.mean([x.spread for x in heard])) if heard else None,
        "grey": _share([look.grey for look in looks]),
        "still": _share([look.still for look in looks]),
        "brightness": float(np.mean([look.brightness for look in looks])),
        "image_size": source.info.image_size,
    }
    return found, _odd(found, card, source.info.preparation.get("sample_rate"))


def _look(record: Record, card: ModelCard) -> Look:
    picked = card.reading.pick(record.num_frames, record.id)
    frames = frames_of(record, np.unique(picked)).astype(np.float32)
    mel = None if record.spectrogram is None else record.spectrogram.astype(np.float32)
    high = audio.band_hertz(record.sample_rate) > _PHONE if mel is not None else np.array([False])
    return Look(
        rate=record.sample_rate,
        was_16k=bool(high.any() and mel[:, high].mean() < _EMPTY),
        level=0.0 if mel is None else float(mel.mean()),
        spread=0.0 if mel is None else float(mel.std()),
        grey=bool(np.abs(frames - frames.mean(axis=-1, keepdims=True)).mean() < _FAINT / 3),
        still=len(frames) > 1 and bool(np.abs(np.diff(frames, axis=0)).mean() < _FAINT / 3),
        brightness=float(frames.mean()),
    )


def frames_of(record: Record, places: np.ndarray) -> np.ndarray:
    """Frames of a clip, uint8 [T, H, W, 3].

    Raises:
        UserError: One is no picture.
    """
    try:
        return np.stack([decode_jpeg(record.frames[i]) for i in places])
    except ValueError as error:
        raise UserError(f"clip {record.id}: {error}; prepare the dataset again") from error


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else 0.0


def _odd(found: dict[str, Any], card: ModelCard, rate: Any) -> list[str]:
    odd, released = [], card.preparation is None
    rates = list(found["sample_rates"])
    if released and rate not in (None, NATIVE):
        odd.append(
            f"the sound was resampled to {rate} Hz; released weights expect each clip's own rate "
            "(--sample_rate=native)"
        )
    elif released and rates == ["16000"]:
        odd.append(
            "every sound has 16,000 Hz: its files were probably converted before; released weights "
            "expect the videos' own rate"
        )
    if found["nothing_above_8_khz"] > 0.5:
        odd.append(
            f"{found['nothing_above_8_khz']:.0%} of the clips have no sound above 8 kHz although "
            "their rate is higher: they were converted to 16 kHz and back"
        )
    if found["without_sound"] > 0.2:
        odd.append(f"{found['without_sound']:.0%} of the clips have no sound")
    if found["grey"] > 0.5:
        odd.append(f"{found['grey']:.0%} of the clips are without colour")
    if found["still"] > 0.2:
        odd.append(f"in {found['still']:.0%} of the clips all frames are alike")
    if not 30 < found["brightness"] < 225:
        odd.append(f"the frames' mean grey level is {found['brightness']:.0f} of 255")
    if found["image_size"] < card.model.image_size:
        odd.append(
            f"the frames have {found['image_size']} pixels, the model sees {card.model.image_size}"
        )
    return odd
