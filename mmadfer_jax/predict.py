"""What a trained model sees in a clip: `python -m mmadfer_jax.predict CLIP --checkpoint=DIR`."""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmadfer_jax.clips.audio import model_input
from mmadfer_jax.clips.clip import PrepareSettings, make_detector, prepare_clip
from mmadfer_jax.clips.faces import Detector
from mmadfer_jax.clips.frames import decode_jpeg, encode_jpeg, in_order, test_indices
from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import Params, apply_fn
from mmadfer_jax.models.pixels import resize
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.provenance import Provenance
from mmadfer_jax.training.setup import ModelSetup
from mmadfer_jax.weights import load_checkpoint_file


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of a clip.

    Attributes:
      clip: the file.
      probabilities: class name -> probability, the most probable first.
      problems: what makes the answer doubtful, such as a clip without sound or without a face.
      num_frames: frames in the clip, of which the model saw `ModelConfig.num_frames`.
      sample_rate: of the sound in Hz, 0 where there is none.
      face_share: share of the frames looked at in which a face was found.
    """

    clip: str
    probabilities: dict[str, float]
    problems: list[str]
    num_frames: int
    sample_rate: int
    face_share: float

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


class Predictor:
    """A model ready to answer, as `mmadfer_jax.load` makes it."""

    def __init__(
        self,
        params: Params,
        model: ModelConfig,
        classes: Sequence[str],
        preparation: PrepareSettings,
        *,
        frame_order: str = "time",
        missing_sound: str = "zeros",
    ):
        """Takes parameters that lie on the device.

        Args:
          params: of the model.
          model: its sizes.
          classes: the K names.
          preparation: how clips become frames and log-mel.
          frame_order: "time" or "text", as the model was trained (`config.data.frame_order`).
          missing_sound: "zeros" or "mean", as the model was trained (`config.data.missing_sound`).

        Raises:
          UserError: where there is not one class name for each logit.
        """
        if len(classes) != model.num_classes:
            raise UserError(f"{len(classes)} class names {classes} for {model.num_classes} logits")
        self.model, self.classes, self.preparation = model, tuple(classes), preparation
        self._frame_order, self._missing_sound = frame_order, missing_sound
        self._params = params
        self._apply = jax.jit(apply_fn(model))
        self._resize = jax.jit(resize, static_argnums=1)
        self._detector: Detector | None = None

    def logits(self, frames: np.ndarray, spectrogram: np.ndarray) -> np.ndarray:
        """Computes the logits of a batch.

        Args:
          frames: [B, T, H, W, 3] RGB, uint8 or float in [0, 1]; resized to the model's side, as
            in evaluation, where it has another.
          spectrogram: [B, 512, 128], normalised log-mel (`mmadfer_jax.clips.audio.model_input`).

        Returns:
          float32 [B, K].

        Raises:
          UserError: for another shape, type or range.
        """
        frames, spectrogram = np.asarray(frames), np.asarray(spectrogram)
        model = self.model
        if frames.ndim != 5 or frames.shape[1] != model.num_frames or frames.shape[4] != 3:
            raise UserError(
                f"frames have shape {frames.shape}; expected [B, {model.num_frames}, H, W, 3]"
            )
        if spectrogram.shape != (len(frames), *model.spectrogram_shape):
            raise UserError(
                f"spectrogram has shape {spectrogram.shape}; expected "
                f"{(len(frames), *model.spectrogram_shape)}"
            )
        if np.issubdtype(frames.dtype, np.floating):
            if frames.size and not (frames.min() >= 0 and frames.max() <= 1):
                raise UserError(
                    f"float frames lie in [{frames.min():.4g}, {frames.max():.4g}]; expected "
                    "[0, 1] (pass 0 to 255 as uint8)"
                )
            frames = frames.astype(np.float32)
            if frames.shape[2:4] != (model.image_size, model.image_size):
                frames = self._resize(frames * 255, model.image_size)
        elif frames.dtype == np.uint8:
            frames = self._resize(frames, model.image_size)
        else:
            raise UserError(f"frames are {frames.dtype}; expected uint8, or float in [0, 1]")
        return np.asarray(self._apply(self._params, frames, spectrogram.astype(np.float32)))

    def predict(self, clip: str | Path, audio: str | Path | None = None) -> Prediction:
        """Prepares a clip exactly as the training data were and classifies it.

        Args:
          clip: a video file.
          audio: where its sound is, if not in the video.

        Raises:
          UserError: where the file is missing, is no video or holds no frame.
        """
        settings = self.preparation
        self._detector = self._detector or make_detector(settings)
        prepared = prepare_clip(
            clip,
            settings,
            audio_path=audio,
            detector=self._detector,
            pack=lambda rgb: encode_jpeg(rgb, settings.jpeg_quality),
        )
        order = in_order(len(prepared.frames), self._frame_order)
        picked = order[test_indices(len(prepared.frames), self.model.num_frames)]
        frames = np.stack([decode_jpeg(prepared.frames[i]) for i in picked])
        log_mel = prepared.spectrogram
        if log_mel is not None:
            log_mel = log_mel.astype(np.float16)  # as a record holds it
        spectrogram = model_input(log_mel, self.model.spectrogram_shape[0], self._missing_sound)
        logits = self.logits(frames[None], spectrogram[None])[0]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        order = np.argsort(-probabilities, kind="stable")
        return Prediction(
            clip=str(clip),
            probabilities={self.classes[i]: float(probabilities[i]) for i in order},
            problems=list(prepared.problems),
            num_frames=len(prepared.frames),
            sample_rate=prepared.sample_rate,
            face_share=float(prepared.face_share),
        )


def load(path: str | Path, face_model: str | None = None) -> Predictor:
    """Loads a trained model, on the first device.

    Args:
      path: the work directory of a training run, a released MMA-DFER checkpoint (`fold1_224.pth`),
        or a file that `mmadfer_jax.export` or `mmadfer_jax.convert` wrote.
      face_model: YuNet's model file, where the training data were prepared with it.

    Raises:
      UserError: where there is no model, or a run's frozen weights cannot be had.
    """
    if Path(path).is_file():
        return _load_file(Path(path), face_model)
    checkpoints = Checkpoints(Path(path))
    try:
        provenance = Provenance.from_dict(checkpoints.metadata())
        setup = ModelSetup(provenance.config, devices=jax.local_devices()[:1])
        params = setup.restore(checkpoints, provenance)
    finally:
        checkpoints.close()
    preparation = PrepareSettings.from_dict(provenance.preparation, face_model)
    data = provenance.config["data"]
    return Predictor(
        params,
        setup.model,
        provenance.classes,
        preparation,
        frame_order=data["frame_order"],
        missing_sound=data["missing_sound"],
    )


def _load_file(path: Path, face_model: str | None) -> Predictor:
    params, model, info = load_checkpoint_file(path)
    if info.classes is None:
        raise UserError(
            f"{path} names no classes; name its {model.num_classes} in their order with "
            "`python -m mmadfer_jax.convert FILE --out=FILE.safetensors --classes=A,B,...`"
        )
    if info.preparation is None:  # a released checkpoint: what the authors trained on
        preparation = PrepareSettings(image_size=model.image_size)
    else:
        preparation = PrepareSettings.from_dict(info.preparation, face_model)
    if model.dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")
    device = jax.local_devices()[0]
    return Predictor(jax.device_put(params, device), model, info.classes, preparation)


def describe(prediction: Prediction) -> str:
    """A prediction in a few lines for the terminal."""
    width = max(map(len, prediction.probabilities))
    lines = [f"{prediction.clip}: {prediction.label}"]
    lines += [
        f"  {name:<{width}} {p:6.1%} {'#' * round(40 * p)}"
        for name, p in prediction.probabilities.items()
    ]
    return "\n".join(lines + [f"  note: {problem}" for problem in prediction.problems])


def to_json(prediction: Prediction) -> str:
    """A prediction as one line of JSON."""
    fields: Mapping[str, Any] = dataclasses.asdict(prediction)
    return json.dumps({"label": prediction.label, **fields}, ensure_ascii=False)


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.predict", description=__doc__)
    parser.add_argument("clip", nargs="+", type=Path, help="video files")
    parser.add_argument(
        "--checkpoint", required=True, type=Path, help="a run's --workdir, or a file"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON a clip")
    parser.add_argument("--face_model", metavar="ONNX", help="YuNet's file, if prepared with it")
    arguments = parser.parse_args()
    if missing := [str(clip) for clip in arguments.clip if not clip.is_file()]:
        raise UserError(f"no such file: {', '.join(missing)}")
    predictor = load(arguments.checkpoint, arguments.face_model)
    for clip in arguments.clip:
        prediction = predictor.predict(clip)
        print(to_json(prediction) if arguments.json else describe(prediction), flush=True)


if __name__ == "__main__":
    main()
