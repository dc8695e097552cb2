"""Draws the parameters of a clip from its class and a seed.

Everything about the person, the scene, the head's motion and the pace of the clip comes from
streams of the seed that never see the class; the class only picks the scripts (see `script`).
"""

import dataclasses

import numpy as np

from data_prep.synthetic.looks import Looks, draw_looks
from data_prep.synthetic.script import (
    ACTIONS,
    CLASSES,
    MOTIONS,
    PAIR,
    TAKES,
    TRACK,
    FaceScript,
    VoiceScript,
)

SAMPLE_RATE = 16_000  # Hz of the voice
CONTROL_RATE = 200  # Hz of the voice's pitch and energy contours


@dataclasses.dataclass(frozen=True)
class Picture:
    """Everything the renderer needs: a person and scene, and [T, len(TRACK)] of their motion."""

    looks: Looks
    fps: int
    track: np.ndarray


@dataclasses.dataclass(frozen=True)
class Voice:
    """Everything the synthesiser needs; contours are at `CONTROL_RATE`.

    Attributes:
        samples: Length at `SAMPLE_RATE`.
        pitch: [n] Hz.
        energy: [n] linear gain, syllables and loudness together.
        vowels: [n, 3] formant frequencies, Hz, before the vocal tract's scale.
        tract: Scale of the formants (long tracts below 1).
        breath, rough, tilt: As in `VoiceScript`.
        room: Level of the noise floor, dB.
        noise_seed: Seed of breath and room noise.
    """

    samples: int
    pitch: np.ndarray
    energy: np.ndarray
    vowels: np.ndarray
    tract: float
    breath: float
    rough: float
    tilt: float
    room: float
    noise_seed: int


@dataclasses.dataclass(frozen=True)
class Clip:
    """The parameters of one clip."""

    label: int
    picture: Picture
    voice: Voice


def sample_clip(label: int, seed: int, take: int = 0) -> Clip:
    """Draws the clip of a class (an index into `CLASSES + PAIR`), a seed, and a take of `TAKES`."""
    face, manner, backwards = TAKES[(CLASSES + PAIR)[label]][take]
    looks_rng, pace_rng, head_rng, voice_rng = (
        np.random.default_rng([seed, stream]) for stream in range(4)
    )
    fps = int(pace_rng.choice((10, 11, 12)))
    num_frames = round(fps * pace_rng.uniform(1.6, 2.4))
    strength = pace_rng.uniform(0.85, 1.0)
    stretch = pace_rng.uniform(-0.04, 0.04, 2)
    speech = pace_rng.uniform(-1, 1, 3)

    seconds = num_frames / fps
    times = (np.arange(num_frames) + 0.5) / fps
    track = np.zeros((num_frames, len(TRACK)), np.float32)
    contour = strength * expression_contour(times / seconds, face, stretch)
    for action, amount in face.apex.items():
        track[:, TRACK.index(action)] = amount * contour
    track[:, len(ACTIONS) :] = _head_motion(times, seconds, head_rng)
    track[:, TRACK.index("talk")] = syllables(times, seconds, manner, speech)[0]
    if backwards:
        track = track[::-1].copy()
    picture = Picture(draw_looks(looks_rng), fps, track)
    return Clip(label, picture, _draw_voice(seconds, manner, speech, voice_rng))


def expression_contour(share: np.ndarray, face: FaceScript, stretch: np.ndarray) -> np.ndarray:
    """Rest, onset, apex, offset as a curve in [0, 1].

    Args:
        share: Times as shares of the clip.
        face: The script with its four times.
        stretch: Shifts of the apex's start and end.
    """
    knots = np.array(face.times)
    knots[1:3] += stretch
    ramp = np.interp(share, knots, (0.0, 1.0, 1.0, 0.0))
    return ramp * ramp * (3 - 2 * ramp)


def syllables(
    times: np.ndarray, seconds: float, manner: VoiceScript, speech: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loudness of the syllables in [0, 1] and the syllable each time belongs to.

    The train of syllables is symmetric about the clip's middle, so lips move with the voice in
    pictures that run backwards too.
    """
    margin = seconds * (0.06 + 0.02 * speech[0])
    count = max(2, round((seconds - 2 * margin) * manner.rate * (1 + 0.08 * speech[1])))
    place = (times - margin) / (seconds - 2 * margin) * count
    index = np.clip(np.floor(place), 0, count - 1).astype(int)
    distance = np.abs(place - index - 0.5) / (manner.duty / 2)
    stress = 1 - (0.2 + 0.1 * speech[2]) * (np.abs(index - (count - 1) / 2) % 2)
    return np.cos(np.pi / 2 * np.clip(distance, 0, 1)) ** 0.8 * stress, index


def _head_motion(times: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Blinks, gaze and slow sways of the head, [T, len(MOTIONS)]; as likely forth as back."""
    motion = np.zeros((len(times), len(MOTIONS)))
    blinks = rng.uniform(0.1, 0.9, 1 + (seconds > 2)) * seconds
    for blink in blinks:
        column = motion[:, MOTIONS.index("blink")]
        np.maximum(column, np.clip(1.5 - np.abs(times - blink) / 0.06, 0, 1), out=column)
    sizes = {"gaze_x": 0.35, "gaze_y": 0.2, "shift_x": 4, "shift_y": 3, "roll": 2.5}
    sizes |= {"yaw": 0.6, "pitch": 0.45}
    for name, size in sizes.items():
        hertz, phase = rng.uniform(0.15, 0.6), rng.uniform(0, 2 * np.pi)
        sway = 0.6 * rng.uniform(-1, 1) + 0.5 * np.sin(2 * np.pi * hertz * times + phase)
        motion[:, MOTIONS.index(name)] = size * sway
    return motion


# First three formants of five vowels, Hz (Peterson and Barney 1952, means of men).
_VOWELS = np.array(
    [(730, 1090, 2440), (530, 1840, 2480), (390, 1990, 2550), (570, 840, 2410), (440, 1020, 2240)],
    np.float64,
)


def _draw_voice(
    seconds: float, manner: VoiceScript, speech: np.ndarray, rng: np.random.Generator
) -> Voice:
    base = 120 * 1.65 ** rng.uniform(0, 1)
    tract = 0.95 * (base / 120) ** 0.35 * rng.uniform(0.97, 1.05)
    level, room = rng.uniform(-2, 2), rng.uniform(-62, -52)
    shake, wander = rng.uniform(7.5, 9), rng.uniform(0, 2 * np.pi, 2)
    order = rng.permutation(np.tile(np.arange(len(_VOWELS)), 4))
    noise_seed = int(rng.integers(2**31))

    times = (np.arange(round(seconds * CONTROL_RATE)) + 0.5) / CONTROL_RATE
    loudness, index = syllables(times, seconds, manner, speech)
    line = np.interp(times / seconds, (0, 0.5, 1), manner.pitch)
    line *= 1 + 0.02 * np.sin(2 * np.pi * 1.1 * times + wander[0])
    tremor = manner.tremor * np.sin(2 * np.pi * shake * times + wander[1])
    pitch = base * line * (1 + manner.lilt * (loudness - 0.5)) * (1 + 0.07 * tremor)
    energy = loudness * (1 + 0.55 * tremor) * 10 ** ((manner.level + level) / 20)
    vowels = _VOWELS[order[index]]
    glide = np.ones(9) / 9  # 45 ms from vowel to vowel
    vowels = np.stack([np.convolve(np.pad(f, 4, "edge"), glide, "valid") for f in vowels.T], axis=1)
    return Voice(
        samples=round(seconds * SAMPLE_RATE),
        pitch=pitch,
        energy=energy,
        vowels=vowels,
        tract=tract,
        breath=manner.breath,
        rough=manner.rough,
        tilt=manner.tilt,
        room=room,
        noise_seed=noise_seed,
    )
