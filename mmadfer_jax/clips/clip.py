"""One video file -> face crops and log-mel: the same for preparing a dataset and for predicting."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmadfer_jax.clips import audio, faces, media, mtcnn, tracks
from mmadfer_jax.clips.preparation import NATIVE, PrepareSettings

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
        looked_at = (frame.rgb for frame in media.read_video(path, settings.detect_every))
        found, face_share, face_problems = find_faces(looked_at, settings, detector)
        problems = face_problems + problems
    of_video: list[str] = []
    cut = cut_out(media.read_video(path, problems=of_video), found, settings, pack)
    problems = [*problems, *of_video, *cut.problems]
    return PreparedClip(
        cut.frames, cut.times, spectrogram, sample_rate, problems, face_share, cut.boxes, cut.count
    )


class CutOut(NamedTuple):
    """What was cut out of a clip's pictures; see `PreparedClip`, `count` is `decoded_frames`."""

    frames: list[Any]
    times: np.ndarray
    boxes: list[faces.Box]
    count: int
    problems: list[str]


def cut_out(
    pictures: Iterable[media.VideoFrame],
    found: np.ndarray | None,
    settings: PrepareSettings,
    pack: Callable[[np.ndarray], Any] | None,
) -> CutOut:
    """Cuts faces out, at most `MAX_FRAMES`.

    Args:
        pictures: All in order of time.
        found: What `find_faces` gave of them; None takes whole pictures.
        settings: How.
        pack: Applied to every crop.
    """
    frames, times, boxes, count, step = [], [], [], 0, 1
    for count, frame in enumerate(pictures, 1):
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
    return CutOut(frames, np.array(times), boxes, count, [MANY_FRAMES] if step > 1 else [])


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
    pictures: Iterable[np.ndarray],
    settings: PrepareSettings,
    detector: faces.Detector | None = None,
) -> tuple[np.ndarray, float, list[str]]:
    """Looks for faces.

    Args:
        pictures: Every `detect_every`-th of the clip, uint8 [H, W, 3].
        settings: How.
        detector: Made anew if not given.

    Returns:
        float32 [n, 4], the box around the faces of each frame, or around the one followed, NaN
        where there is none, for no fewer frames than there are; the share of frames with a face
        of those looked at; problems.
    """
    detector = detector or make_detector(settings)
    found = [detector(rgb)[0] for rgb in pictures]
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
