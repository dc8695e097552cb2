"""What a synthetic clip shows and says: seven classes as scripts of face and voice.

A class is a *face script*, a *voice script* and a direction of time. Because classes share them,

- Surprise and Fear have the same pictures and differ in sound,
- Angry and Disgust have the same sound and differ in pictures, as most classes do,
- Happy and Neutral have the same sound and the same pictures in opposite order (a smile that
  grows, a smile that fades).

So a model without sound, without pictures or without the order of frames cannot tell all seven.

A dataset can have a pair of classes more, which neither modality tells alone. Each of the two has
two takes: both show the same two faces and speak with the same two voices, equally often. Only
which face goes with which voice tells them apart.
"""

import dataclasses
from typing import NamedTuple

CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
PAIR = ("Congruent", "Incongruent")

# Columns of a face track. The first group are muscles in the spirit of the Facial Action Coding
# System, 0 (rest) to 1 (apex); then blink and talking; then gaze and head pose, signed.
ACTIONS = (
    "inner_brow_raise",
    "outer_brow_raise",
    "brow_lower",
    "lid_raise",
    "lid_tighten",
    "lid_drop",
    "cheek_raise",
    "nose_wrinkle",
    "upper_lip_raise",
    "corner_pull",
    "corner_drop",
    "lip_round",
    "lip_press",
    "teeth",
    "jaw_drop",
)
MOTIONS = ("blink", "talk", "gaze_x", "gaze_y", "shift_x", "shift_y", "roll", "yaw", "pitch")
TRACK = ACTIONS + MOTIONS


@dataclasses.dataclass(frozen=True)
class FaceScript:
    """Muscles at the apex, and when they move.

    Attributes:
        apex: How far each of `ACTIONS` goes; those not named rest.
        times: When the muscles leave rest, reach the apex, leave it and are at rest again, as
            shares of the clip.
    """

    apex: dict[str, float]
    times: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class VoiceScript:
    """A way of speaking, relative to the speaker's own voice.

    Attributes:
        rate: Syllables a second.
        duty: Share of a syllable that sounds; small is staccato.
        pitch: Factors on the speaker's pitch at start, middle and end of the clip.
        lilt: Pitch rise within each syllable, as a share.
        tremor: Depth of an 8 Hz shake of pitch and loudness.
        level: Loudness, dB.
        breath: Share of noise in the source.
        rough: Share of every second pulse that is missing (a growl).
        tilt: DB an octave the spectrum falls above 500 Hz, lips included; about -12 is a calm
            voice.
    """

    rate: float
    duty: float
    pitch: tuple[float, float, float]
    lilt: float
    tremor: float
    level: float
    breath: float
    rough: float
    tilt: float


_SMILE = FaceScript(
    {"corner_pull": 1.0, "cheek_raise": 0.9, "teeth": 0.9, "outer_brow_raise": 0.25},
    (0.05, 0.76, 0.85, 0.97),
)
_GRIEF = FaceScript(
    {"inner_brow_raise": 1.0, "brow_lower": 0.15, "corner_drop": 1.0, "lid_drop": 0.75},
    (0.06, 0.34, 0.80, 0.98),
)
_GLARE = FaceScript(
    {
        "brow_lower": 1.0,
        "lid_raise": 0.35,
        "lid_tighten": 0.55,
        "lip_press": 1.0,
        "corner_drop": 0.35,
    },
    (0.06, 0.26, 0.76, 0.96),
)
_SNEER = FaceScript(
    {
        "nose_wrinkle": 1.0,
        "upper_lip_raise": 1.0,
        "brow_lower": 0.45,
        "lid_tighten": 0.9,
        "cheek_raise": 0.5,
        "corner_drop": 0.45,
        "teeth": 0.6,
    },
    (0.08, 0.32, 0.76, 0.96),
)
_STARTLE = FaceScript(
    {
        "inner_brow_raise": 1.0,
        "outer_brow_raise": 1.0,
        "lid_raise": 1.0,
        "jaw_drop": 1.0,
        "lip_round": 0.55,
    },
    (0.08, 0.22, 0.70, 0.95),
)

# In step with `_SHAKY`, because lips move with the syllables.
_LIVELY = VoiceScript(
    rate=2.8,
    duty=0.90,
    pitch=(1.1, 1.2, 1.1),
    lilt=0.22,
    tremor=0.0,
    level=-3,
    breath=0.04,
    rough=0.0,
    tilt=-9,
)
_WEARY = VoiceScript(
    rate=1.9,
    duty=1.0,
    pitch=(1.0, 0.85, 0.68),
    lilt=-0.04,
    tremor=0.0,
    level=-10,
    breath=0.30,
    rough=0.0,
    tilt=-15,
)
_SHAKY = VoiceScript(
    rate=2.8,
    duty=0.90,
    pitch=(1.65, 1.6, 1.5),
    lilt=0.0,
    tremor=1.0,
    level=-8,
    breath=0.40,
    rough=0.0,
    tilt=-11,
)

# A face drawn together and one blown up, of no other class.
_PUCKER = FaceScript(
    {"lip_round": 1.0, "lid_tighten": 0.8, "inner_brow_raise": 0.8, "cheek_raise": 0.6},
    (0.07, 0.28, 0.76, 0.96),
)
_GAPE = FaceScript(
    {"jaw_drop": 0.9, "lid_drop": 1.0, "corner_drop": 0.8, "outer_brow_raise": 0.7},
    (0.07, 0.28, 0.76, 0.96),
)


class Take(NamedTuple):
    """One way to play a class; with `backwards` the pictures run from their end."""

    face: FaceScript
    voice: VoiceScript
    backwards: bool = False


# Lips move alike with both voices of the pair, or they would tell the voice.
TAKES = {
    "Happy": (Take(_SMILE, _LIVELY),),
    "Sad": (Take(_GRIEF, _WEARY),),
    "Neutral": (Take(_SMILE, _LIVELY, backwards=True),),
    "Angry": (Take(_GLARE, _LIVELY),),
    "Surprise": (Take(_STARTLE, _LIVELY),),
    "Disgust": (Take(_SNEER, _LIVELY),),
    "Fear": (Take(_STARTLE, _SHAKY),),
    "Congruent": (Take(_PUCKER, _LIVELY), Take(_GAPE, _SHAKY)),
    "Incongruent": (Take(_PUCKER, _SHAKY), Take(_GAPE, _LIVELY)),
}
