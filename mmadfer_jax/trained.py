"""A trained model, wherever it comes from: a run, a file of ours or a released checkpoint."""

import dataclasses
import functools
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import (
    NO_FACE,
    NO_SOUND,
    OTHER_FACES,
    SEVERAL_FACES,
    SHORT_SOUND,
    PreparedClip,
    PrepareSettings,
    make_detector,
)
from mmadfer_jax.errors import UserError, out_of_memory_says
from mmadfer_jax.evaluation.metrics import softmax
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params, apply_fn, stored_dtype
from mmadfer_jax.models.pixels import resize
from mmadfer_jax.prediction import Audio, Clip, Prediction, predict_all, prepare
from mmadfer_jax.timelines.timeline import Timeline
from mmadfer_jax.training.checkpoints import Checkpoints, Saved
from mmadfer_jax.training.frozen import read_frozen
from mmadfer_jax.training.optimizer import freeze_labels, split
from mmadfer_jax.weights.model_files import read_model

# What makes a clip doubtful, but not to a model of this modality alone.
_OF_THE_OTHER = {
    "image": (NO_SOUND, SHORT_SOUND),
    "audio": (NO_FACE, SEVERAL_FACES, OTHER_FACES),
}


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
        self._first = threading.Lock()  # or threads that share a model would each put it there

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
        found, device = {}, jax.local_devices()[0]
        for path, x in self.params.items():
            stored = x.astype(stored_dtype(self.card.model, path), copy=False)
            found[path] = jax.device_put(stored, device)
            if device.platform == "cpu" and stored is x:  # one place for both
                self.params[path] = np.asarray(found[path])
        return found

    def logits(self, frames: np.ndarray, spectrogram: np.ndarray) -> np.ndarray:
        """Computes the logits of a batch, on the first device.

        Args:
            frames: [B, T, H, W, 3] RGB, uint8 or float in [0, 1]; resized to the model's side, as
                in evaluation, where it has another.
            spectrogram: [B, 512, 128] log-mel padded with zeros (`card.reading.sound`).

        Returns:
            float32 [B, K].

        Raises:
            UserError: For another shape, type or range, where the answer is not finite, or where
                the device has not enough memory.
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
        advice = f"ask about fewer than {len(frames)} clips at once (--batch, batch=), or use a CPU"
        with out_of_memory_says(advice if len(frames) > 1 else "use a CPU"):
            with self._first:
                params = self._on_device
            program = _program(self.card.model)
            found = np.asarray(program(params, frames, spectrogram.astype(np.float32)))
        if not np.isfinite(found).all():
            raise UserError(
                f"the answer of {self.path or 'the model'} is not finite: its weights or the "
                "spectrogram are damaged"
            )
        return found

    @overload
    def predict(
        self, clip: Clip, audio: Audio = None, *, batch: int | None = None
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        clip: Sequence[Clip],
        audio: Sequence[Audio] | None = None,
        *,
        batch: int | None = None,
    ) -> list[Prediction | UserError]: ...

    def predict(self, clip, audio=None, *, batch=None):
        """Prepares clips exactly as the training data were and classifies them.

        Args:
            clip: A video file; a folder of face crops, one picture file a frame; or whole pictures
                uint8 [n, H, W, 3] RGB in order of time. Or a list of such, which are prepared side
                by side and asked in batches.
            audio: Where its sound is, if not in the video; a `Wave` beside pictures in memory. Of
                several clips a list, None in it for their own.
            batch: Clips of a list that the model is asked about at once; None takes 1 on a CPU,
                else 16.

        Returns:
            A `Prediction`; of a list one for each, in their order, where a `UserError` stands for
            a clip that cannot be used.

        Raises:
            UserError: The one clip is missing, is no video, holds no frame, or is an array of
                another shape or type.
        """
        several = isinstance(clip, list | tuple)
        clips = clip if several else [clip]
        audios = ([None] * len(clips) if audio is None else audio) if several else [audio]
        if len(clips) != len(audios):
            raise UserError(f"{len(clips)} clips with {len(audios)} sounds")
        found = predict_all(
            clips,
            audios,
            self._prepare,
            self._probabilities,
            batch_size(batch),
            self.card.reading,
            self.classes,
        )
        if several:
            return found
        if isinstance(found[0], UserError):
            raise found[0]
        return found[0]

    def timeline(
        self,
        video: str | Path,
        *,
        batch: int | None = None,
        progress: Callable[[float], None] | None = None,
        watching: Callable[[np.ndarray, np.ndarray], None] | None = None,
        **settings: Any,
    ) -> Timeline:
        """Says what each person in a video shows, window by window.

        Args:
            video: Any video or sound file, of any length.
            batch: Windows that the model is asked about at once; None takes 1 on a CPU, else 16.
            progress: Called with the share that is done, 0 to 1, now and then.
            watching: Called with what the model sees and hears, in the order of the answered rows:
                uint8 [B, T, S, S, 3] and float32 [B, L, 128].
            settings: As in `TimelineSettings`, such as `window=2.0`, `hop=0.5`.

        Raises:
            UserError: The file cannot be used, or a setting is wrong.
        """
        # They bring a speech detector and SciPy, which few who load a model need.
        from mmadfer_jax.videos.engine import Answerer, make_timeline
        from mmadfer_jax.videos.identity import recogniser
        from mmadfer_jax.videos.settings import TimelineSettings

        chosen = TimelineSettings(**settings)
        model = Answerer(
            name=self.path,
            classes=self.classes,
            reading=self.card.reading,
            preparation=self.preparation,
            ask=self._probabilities,
            make_detector=make_detector,
            recognise=recogniser(chosen.face_embedding),
            batch=batch_size(batch),
            about=self.about(chosen.face_embedding),
        )
        return make_timeline(video, model, chosen, progress, watching)

    def about(self, face_embedding: str | None = None) -> dict[str, Any]:
        """What a timeline's answers depend on beside its own settings, as JSON reads it back.

        Raises:
            UserError: As `timeline`.
        """
        from mmadfer_jax.videos.identity import recogniser

        network, card = recogniser(face_embedding), self.card.to_dict()
        return {
            "card": {name: card[name] for name in ("data", "figures", "preparation", "notes")},
            "dtype": self.card.model.dtype,
            "parameters_sha256": self.digest,
            "face_embedding_sha256": network and network.sha256,
        }

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the parameters in float32, in the order of their paths."""
        found = hashlib.sha256()
        for path in sorted(self.params):
            found.update(path.encode())
            found.update(np.ascontiguousarray(self.params[path], np.float32))
        return found.hexdigest()

    def _probabilities(self, frames: np.ndarray, spectrogram: np.ndarray) -> np.ndarray:
        return softmax(self.logits(frames, spectrogram).astype(np.float64))

    def _prepare(self, clip: Clip, audio: Audio) -> PreparedClip:
        if not hasattr(self._detectors, "own"):
            self._detectors.own = make_detector(self.preparation)
        prepared = prepare(clip, audio, self.preparation, self._detectors.own)
        beside = _OF_THE_OTHER.get(self.card.model.modalities, ())
        problems = [problem for problem in prepared.problems if problem not in beside]
        return dataclasses.replace(prepared, problems=problems)


def batch_size(given: int | None = None) -> int:
    """Clips or windows that a model is asked about at once: a CPU is busy with one.

    Raises:
        UserError: Fewer than one is given.
    """
    if given is None:
        return 1 if jax.default_backend() == "cpu" else 16
    if given < 1:
        raise UserError(f"batch is {given}; expected 1 or more")
    return given


@functools.cache
def _program(config: ModelConfig) -> Callable[..., jax.Array]:
    """The forward pass; models of the same sizes share it."""
    return jax.jit(apply_fn(config))


_resize = jax.jit(resize, static_argnums=1)


def load_model(
    path: str | Path | UPath, face_model: str | None = None, *, dtype: str | None = None
) -> TrainedModel:
    """Loads a trained model.

    Args:
        path: The work directory of a training run, a released MMA-DFER checkpoint
            (`fold1_224.pth`), or a file that `mmadfer_jax.export` or `mmadfer_jax.convert` wrote.
        face_model: YuNet's model file, where the training data were prepared with it.
        dtype: In which the encoders and the fusion multiply, "float32" or "bfloat16", in place of
            the type that the model was trained in; released checkpoints are of float32.

    Raises:
        UserError: There is no model, or it is damaged, or there is no such type.
    """
    path = files.as_path(path)
    if files.is_folder(path):
        return _load_run(path, face_model, dtype)
    with files.local_copy(path) as copy:
        file = read_model(copy)
    return TrainedModel(
        _multiplying_in(file.card, dtype),
        file.params,
        leftovers=file.leftovers,
        path=str(path),
        face_model=face_model,
    )


def _multiplying_in(card: ModelCard, dtype: str | None) -> ModelCard:
    if dtype is None:
        return card
    return dataclasses.replace(card, model=dataclasses.replace(card.model, dtype=dtype))


def _load_run(workdir: Path | UPath, face_model: str | None, dtype: str | None) -> TrainedModel:
    def params(saved: Saved) -> dict[str, np.ndarray]:
        shapes = abstract_params(saved.card.model)
        labels = freeze_labels(shapes, saved.card.training["config"]["freeze"])
        return checkpoints.trainable(saved, split(shapes, labels)[0])

    with Checkpoints(workdir) as checkpoints:
        saved, trainable = checkpoints.newest(params)
    frozen = read_frozen(workdir, saved.card.training["frozen_sha256"])
    return TrainedModel(
        _multiplying_in(saved.card, dtype),
        {**frozen, **trainable},
        path=str(workdir),
        step=saved.step,
        history=saved.progress["history"],
        notes=checkpoints.passed_over(),
        face_model=face_model,
    )
