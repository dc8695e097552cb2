"""Who is in a synthetic clip and where: a head, its hair, its clothes, the light, the room.

Lengths are in pixels of the drawing canvas, `CANVAS` on a side, of which the picture shows half the
resolution. Faces are drawn around `CENTRE`.
"""

import dataclasses

import numpy as np

CANVAS = 384
CENTRE = 192.0

HAIR_STYLES = ("crop", "side_part", "swept", "curly", "bob", "long", "bun", "buzz", "bald")
_HAIR_WEIGHTS = np.array((3, 3, 2, 2, 2, 3, 2, 1, 0.7))
BACKGROUNDS = ("wall", "lights", "window", "shelves")
COLLARS = ("crew", "v", "shirt")

# RGB. Skin from light to deep; hair; irises; clothes; rooms.
_SKINS = np.array(
    [
        (240, 204, 180),
        (234, 192, 164),
        (226, 178, 144),
        (219, 166, 128),
        (198, 142, 104),
        (172, 116, 80),
        (142, 92, 64),
        (112, 72, 52),
    ]
)
_HAIRS = np.array(
    [
        (32, 26, 26),
        (48, 34, 28),
        (74, 48, 34),
        (104, 66, 42),
        (140, 84, 48),
        (186, 140, 84),
        (150, 70, 40),
        (150, 148, 146),
    ]
)
_DEEP_SKIN_HAIRS = 3  # the first of _HAIRS, natural with the deepest skins
_IRISES = np.array([(84, 52, 32), (110, 72, 38), (92, 110, 62), (70, 108, 140), (96, 116, 126)])
_CLOTHES = np.array(
    [
        (52, 74, 108),
        (128, 56, 60),
        (70, 96, 82),
        (206, 196, 180),
        (60, 60, 68),
        (176, 132, 72),
        (112, 88, 124),
        (226, 226, 228),
        (60, 116, 128),
    ]
)
_ROOMS = np.array(
    [
        (150, 164, 176),
        (188, 176, 160),
        (136, 156, 144),
        (172, 148, 140),
        (120, 132, 152),
        (196, 190, 186),
        (104, 112, 120),
        (164, 158, 178),
    ]
)


@dataclasses.dataclass(frozen=True)
class Looks:
    """A person and a scene. Colours are RGB in [0, 255], lengths canvas pixels."""

    # Shape of the head.
    half_width: float
    jaw: float  # width at the jaw's corner, as a share of the head's
    chin: float  # width of the chin, likewise
    chin_y: float
    eye_y: float
    eye_gap: float  # from the middle to an eye's centre
    eye_width: float  # half width
    eye_height: float
    eye_tilt: float
    brow_y: float
    brow_thick: float
    brow_arch: float
    nose_y: float
    nose_width: float
    mouth_y: float
    mouth_width: float  # half width
    lip_full: float
    ear: float
    # Colours.
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    iris: tuple[int, int, int]
    lips: tuple[int, int, int]
    clothes: tuple[int, int, int]
    room: tuple[int, int, int]
    # Hair and extras.
    hair_style: str
    parting: float  # -1 to 1
    volume: float  # thickness of the hair
    beard: float  # 0 for none
    lashes: float
    freckles: bool
    glasses: bool
    earrings: bool
    collar: str
    background: str
    zoom: float
    # Light.
    light: tuple[float, float, float]  # towards the lamp; x right, y down, z to the camera
    ambient: float
    warmth: float
    texture_seed: int  # hair strands, freckles, things in the room


def draw_looks(rng: np.random.Generator) -> Looks:
    """Draws a person and a scene."""
    eye_y = rng.uniform(180, 186)
    tone = int(rng.integers(len(_SKINS)))
    skin = _SKINS[tone] * rng.uniform(0.97, 1.03, 3)
    hair = _HAIRS[rng.integers(_DEEP_SKIN_HAIRS if tone >= 5 else len(_HAIRS))]
    style = str(rng.choice(HAIR_STYLES, p=_HAIR_WEIGHTS / _HAIR_WEIGHTS.sum()))
    short = style not in ("bob", "long", "bun")
    beard, earrings, lashes = rng.uniform(size=3)
    side = rng.choice((-1, 1)) * rng.uniform(0.25, 0.75)
    return Looks(
        half_width=rng.uniform(83, 93),
        jaw=rng.uniform(0.76, 0.88),
        chin=rng.uniform(0.36, 0.48),
        chin_y=rng.uniform(298, 308),
        eye_y=eye_y,
        eye_gap=rng.uniform(39, 43),
        eye_width=rng.uniform(21.5, 24),
        eye_height=rng.uniform(11, 13),
        eye_tilt=rng.uniform(-1, 2.5),
        brow_y=eye_y - rng.uniform(26, 30),
        brow_thick=rng.uniform(4.5, 7.5) + (0.8 if short else 0),
        brow_arch=rng.uniform(2, 6),
        nose_y=rng.uniform(228, 234),
        nose_width=rng.uniform(14, 18.5),
        mouth_y=rng.uniform(256, 262),
        mouth_width=rng.uniform(27, 32),
        lip_full=rng.uniform(0.85, 1.25),
        ear=rng.uniform(0.85, 1.15),
        skin=_colour(skin),
        hair=_colour(hair * rng.uniform(0.92, 1.08)),
        iris=_colour(_IRISES[0 if tone >= 5 else rng.integers(len(_IRISES))]),
        lips=_colour(skin * (0.80, 0.56, 0.57) + (24, 4, 8) + rng.uniform(-8, 8, 3)),
        clothes=_colour(_CLOTHES[rng.integers(len(_CLOTHES))] * rng.uniform(0.9, 1.1)),
        room=_colour(_ROOMS[rng.integers(len(_ROOMS))] * rng.uniform(0.9, 1.08)),
        hair_style=style,
        parting=rng.uniform(-1, 1),
        volume=rng.uniform(0.8, 1.25),
        beard=(rng.uniform(0.3, 1.0) if short and beard < 0.3 else 0.0),
        lashes=(0.3 + 0.3 * lashes if short else 0.7 + 0.3 * lashes),
        freckles=bool(rng.uniform() < 0.2 and tone < 4),
        glasses=bool(rng.uniform() < 0.12),
        earrings=bool(not short and earrings < 0.5),
        collar=str(rng.choice(COLLARS)),
        background=str(rng.choice(BACKGROUNDS)),
        zoom=rng.uniform(0.94, 1.06),
        light=(side, -rng.uniform(0.25, 0.7), 1.0),
        ambient=rng.uniform(0.42, 0.56),
        warmth=rng.uniform(-1, 1),
        texture_seed=int(rng.integers(2**31)),
    )


def _colour(rgb: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.rint(rgb), 0, 255).astype(int).tolist()
    return red, green, blue
