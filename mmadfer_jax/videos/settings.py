"""What a user may choose of a timeline, beside the model."""

import dataclasses
from typing import Any

from mmadfer_jax.clips import mtcnn
from mmadfer_jax.errors import UserError

LONGEST_WINDOW = 60.0  # seconds; the faces of a window are held, and the model hears 5 s of sound
ALL, LARGEST = "all", "largest"
MIN_FACE = 40  # pixels; smaller ones tell little, and finding them takes four times as long


@dataclasses.dataclass(frozen=True)
class TimelineSettings:
    """What a timeline depends on beside the video and the model.

    Attributes:
        window: Length of a window in seconds.
        hop: From the start of a window to that of the next, in seconds.
        person: Who is answered for: `all`, in each window the `largest`, or a person's number.
        detect_every: Faces are looked for in every so-many-th frame; None takes about
            `looking.LOOK_SECONDS` of the video.
        min_face: Side of the smallest face that is surely found, in pixels; not below that of the
            model's preparation.
        sound: Whether the model hears the sound.
        picture: Whether it sees the pictures.
        face_embedding: File of the network that knows people again (`identity`); None takes that
            of the package, where it is installed, "none" does without.
    """

    window: float = 2.0
    hop: float = 0.5
    person: str | int = ALL
    detect_every: int | None = None
    min_face: int = MIN_FACE
    sound: bool = True
    picture: bool = True
    face_embedding: str | None = None

    def __post_init__(self):
        if not 0 < self.window <= LONGEST_WINDOW:
            raise UserError(
                f"window {self.window}: expected seconds above 0, up to {LONGEST_WINDOW:g}"
            )
        if not 0 < self.hop < float("inf"):
            raise UserError(f"hop {self.hop}: expected seconds above 0")
        if self.person not in (ALL, LARGEST) and not (
            isinstance(self.person, int) and self.person > 0
        ):
            raise UserError(
                f"person {self.person!r}: expected {ALL}, {LARGEST} or a person's number, from 1"
            )
        if self.detect_every is not None and self.detect_every < 1:
            raise UserError(f"detect_every {self.detect_every}: expected 1 or more")
        if self.min_face < mtcnn.MIN_FACE:
            raise UserError(f"min_face {self.min_face}: expected {mtcnn.MIN_FACE} or more")
        if not (self.sound or self.picture):
            raise UserError("neither sound nor picture: nothing is left to answer from")

    def to_dict(self) -> dict[str, Any]:
        """As JSON reads it back; the embedding's file is named by its content elsewhere."""
        fields = dataclasses.asdict(self)
        del fields["face_embedding"]
        return fields
