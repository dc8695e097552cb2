"""A trained model, wherever it comes from: a run, a file of ours or a released checkpoint."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import (
    PreparedClip,
    PrepareSettings,
    few_frames,
    make_detector,
    prepare_clip,
)
from mmadfer_jax.clips.frame_folder import prepare_frame_folder
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.models.params import abstract_params, apply_fn, stored_dtype
from mmadfer_jax.models.pixels import resize
from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.training.checkpoints import Checkpoints, Saved
from mmadfer_jax.training.frozen import read_frozen
from mmadfer_jax.training.optimizer import freeze_labels, split
from mmadfer_jax.weights.model_files import read_model


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of a clip.

    Attributes:
        clip: The file or folder.
        probabilities: Class name -> probability, the most probable first.
        problems: What makes the answer doubtful, such as a clip without sound or without a face.
        num_frames: Frames in the clip, of which the model saw `ModelConfig.num_frames`.
        sample_rate: Of the sound in Hz, 0 where there is none.
        face_share: Share of the frames looked at in which a face was found; None for a folder of
            face crops.
    """

    clip: str
    probabilities: dict[str, float]
    problems: list[str]
    num_frames: int
    sample_rate: int
    face_share: float | None

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


class TrainedModel:
    """A model with its card: all that it takes to answer, to be evaluated and to be taken out.

    Attributes:
        card: Sizes, class names, how clips are prepared and read, where the model comes from.
        params: Every parameter in float32 by path, on the host.
        leftovers: Tensors of a released checkpoint that no forward pass reads.
        path: What it was loaded from.
        step: Training steps of the checkpoint, where it is a run's.
        history: A row an epoch of its training, where known.
        notes: What went wrong in loading and was got over, such as a damaged newest checkpoint.
    """

    def __init__(
        self,
        card: ModelCard,
        params: Mapping[str, np.ndarray],
        *,
        leftovers: Mapping[str, np.ndarray] | None = None,
        path: str = "",
        step: int | None = None,
        history: list[dict[str, Any]] | None = None,
        notes: tuple[str, ...] = (),
        face_model: str | None = None,
    ):
        self.card, self.params = card, dict(params)
        self.leftovers = dict(leftovers or {})
        self.path, self.step = path, step
        self.history, self.notes = list(history or []), notes
        self._face_model = face_model
        self._detectors = threading.local()  # no two threads may share one

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names in the order of the logits.

        Raises:
            UserError: Nothing tells them.
        """
        if self.card.classes is None:
            raise UserError(
                f"{self.path} names no classes; name its {self.card.model.num_classes} in their "
                "order with `python -m mmadfer_jax.convert FILE --out=FILE.safetensors "
                "--classes=A,B,...`"
            )
        return self.card.classes

    @functools.cached_property
    def preparation(self) -> PrepareSettings:
        """How a clip becomes frames and log-mel, as for the clips it was trained on.

        Raises:
            UserError: It cannot be done here, for instance because a detector's file is lacking.
        """
        if self.card.preparation is None:  # a released checkpoint: what the authors trained on
            return PrepareSettings(image_size=self.card.model.image_size)
        return PrepareSettings.from_dict(self.card.preparation, self._face_model)

    @functools.cached_property
    def _on_device(self) -> dict[str, jax.Array]:
        model = self.card.model
        stored = {path: x.astype(stored_dtype(model, path)) for path, x in self.params.items()}
        return jax.device_put(stored, jax.local_devices()[0])

    @functools.cached_property
    def _apply(self):
        return jax.jit(apply_fn(self.card.model))

    def logits(self, frames: np.ndarray, spectrogram: np.ndarray) -> np.ndarray:
        """Computes the logits of a batch, on the first device.

        Args:
            frames: [B, T, H, W, 3] RGB, uint8 or float in [0, 1]; resized to the model's side, as
                in evaluation, where it has another.
            spectrogram: [B, 512, 128] log-mel padded with zeros (`card.reading.sound`).

        Returns:
            float32 [B, K].

        Raises:
            UserError: For another shape, type or range, or where the answer is not finite.
        """
        frames, spectrogram = np.asarray(frames), np.asarray(spectrogram)
        model = self.card.model
        if frames.ndim != 5 or frames.shape[1] != model.num_frames or frames.shape[4] != 3:
            raise UserError(
                f"frames have shape {frames.shape}; expected [B, {model.num_frames}, H, W, 3]"
            )
        if spectrogram.shape != (len(frames), *model.audio.shape):
            raise UserError(
                f"spectrogram has shape {spectrogram.shape}; expected "
                f"{(len(frames), *model.audio.shape)}"
            )
        if np.issubdtype(frames.dtype, np.floating):
            if frames.size and not (frames.min() >= 0 and frames.max() <= 1):
                raise UserError(
                    f"float frames lie in [{frames.min():.4g}, {frames.max():.4g}]; expected "
                    "[0, 1] (pass 0 to 255 as uint8)"
                )
            frames = frames.astype(np.float32)
            if frames.shape[2:4] != model.image.shape:
                frames = _resize(frames * 255, model.image_size)
        elif frames.dtype == np.uint8:
            frames = _resize(frames, model.image_size)
        else:
            raise UserError(f"frames are {frames.dtype}; expected uint8, or float in [0, 1]")
        found = np.asarray(self._apply(self._on_device, frames, spectrogram.astype(np.float32)))
        if not np.isfinite(found).all():
            raise UserError(
                f"the answer of {self.path or 'the model'} is not finite: its weights or the "
                "spectrogram are damaged"
            )
        return found

    def predict(self, clip: str | Path, audio: str | Path | None = None) -> Prediction:
        """Prepares a clip exactly as the training data were and classifies it.

        Args:
            clip: A video file, or a folder of face crops, one picture file a frame.
            audio: Where its sound is, if not in the video.

        Raises:
            UserError: The file is missing, is no video or holds no frame.
        """
        classes, prepared = self.classes, self._prepare(Path(clip), audio)
        reading = self.card.reading
        picked = reading.pick(len(prepared.frames))
        frames = np.stack([decode_jpeg(prepared.frames[i]) for i in picked])
        log_mel = prepared.spectrogram
        if log_mel is not None:
            log_mel = log_mel.astype(np.float16)  # as a record holds it
        logits = self.logits(frames[None], reading.sound(log_mel)[None])[0]
        probabilities = softmax(logits.astype(np.float64))
        order = np.argsort(-probabilities, kind="stable")
        few = few_frames(len(prepared.frames), reading.num_frames)
        return Prediction(
            clip=str(clip),
            probabilities={classes[i]: float(probabilities[i]) for i in order},
            problems=[*prepared.problems, *([few] if few else [])],
            num_frames=len(prepared.frames),
            sample_rate=prepared.sample_rate,
            face_share=None if prepared.face_share is None else float(prepared.face_share),
        )

    def timeline(
        self,
        video: str | Path,
        *,
        batch: int | None = None,
        progress: Callable[[float], None] | None = None,
        **settings: Any,
    ) -> Timeline:
        """Says what each person in a video shows, window by window.

        Args:
            video: Any video or sound file, of any length.
            batch: Windows that the model is asked about at once; None takes 1 on a CPU, else 16.
            progress: Called with the share that is done, 0 to 1, now and then.
            settings: As in `TimelineSettings`, such as `window=2.0`, `hop=0.5`.

        Raises:
            UserError: The file cannot be used, or a setting is wrong.
        """
        # They bring a speech detector and SciPy, which few who load a model need.
        from mmadfer_jax.videos.engine import Answerer, make_timeline
        from mmadfer_jax.videos.settings import TimelineSettings

        if batch is None:
            batch = 1 if jax.default_backend() == "cpu" else 16
        model = Answerer(
            name=self.path,
            classes=self.classes,
            reading=self.card.reading,
            preparation=self.preparation,
            ask=lambda frames, sound: softmax(self.logits(frames, sound).astype(np.float64)),
            make_detector=make_detector,
            batch=batch,
            about={},
        )
        return make_timeline(video, model, TimelineSettings(**settings), progress)

    def _prepare(self, clip: Path, audio: str | Path | None) -> PreparedClip:
        settings = self.preparation
        if clip.is_dir():
            return prepare_frame_folder(clip, settings, audio)
        if not hasattr(self._detectors, "own"):
            self._detectors.own = make_detector(settings)
        return prepare_clip(
            clip,
            settings,
            audio_path=audio,
            detector=self._detectors.own,
            pack=lambda rgb: encode_jpeg(rgb, settings.jpeg_quality),
        )


_resize = jax.jit(resize, static_argnums=1)


def load_model(path: str | Path | UPath, face_model: str | None = None) -> TrainedModel:
    """Loads a trained model.

    Args:
        path: The work directory of a training run, a released MMA-DFER checkpoint
            (`fold1_224.pth`), or a file that `mmadfer_jax.export` or `mmadfer_jax.convert` wrote.
        face_model: YuNet's model file, where the training data were prepared with it.

    Raises:
        UserError: There is no model, or it is damaged.
    """
    path = files.as_path(path)
    if files.is_folder(path):
        return _load_run(path, face_model)
    with files.local_copy(path) as copy:
        file = read_model(copy)
    return TrainedModel(
        file.card,
        file.params,
        leftovers=file.leftovers,
        path=str(path),
        face_model=face_model,
    )


def _load_run(workdir: Path | UPath, face_model: str | None) -> TrainedModel:
    def params(saved: Saved) -> dict[str, np.ndarray]:
        shapes = abstract_params(saved.card.model)
        labels = freeze_labels(shapes, saved.card.training["config"]["freeze"])
        return checkpoints.trainable(saved, split(shapes, labels)[0])

    with Checkpoints(workdir) as checkpoints:
        saved, trainable = checkpoints.newest(params)
    frozen = read_frozen(workdir, saved.card.training["frozen_sha256"])
    return TrainedModel(
        saved.card,
        {**frozen, **trainable},
        path=str(workdir),
        step=saved.step,
        history=saved.progress["history"],
        notes=checkpoints.passed_over(),
        face_model=face_model,
    )
