"""The parameters a training run starts from: drawn at random, encoders from their own files."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import FROM_FILE, EncoderConfig, ModelConfig, flat
from mmadfer_jax.models.params import abstract_params, init_params
from mmadfer_jax.weights import positions
from mmadfer_jax.weights.encoder_kinds import PretrainedEncoder
from mmadfer_jax.weights.encoders import read_encoder
from mmadfer_jax.weights.files import TensorFile, read_tensors
from mmadfer_jax.weights.layout import square_side
from mmadfer_jax.weights.mma_dfer import is_mma_dfer

Sources = dict[str, Any]

SIDES = ("image", "audio")
AUDIO_POSITIONS = ("interpolate", "cut")

# Those in which file and config must agree; stride, mean and std are a choice.
_MUST_FIT = tuple(name for name in FROM_FILE if name not in ("stride", "mean", "std"))


@dataclasses.dataclass(frozen=True)
class EncoderFile:
    """A pre-trained encoder and the file it was read from."""

    path: str
    sha256: str
    encoder: PretrainedEncoder

    def __str__(self) -> str:
        return f"{self.path} (SHA-256 {self.sha256}) is a {self.encoder.kind.title} encoder"


@dataclasses.dataclass(frozen=True)
class Encoders:
    """The encoders' files, read once; None starts an encoder at random.

    Attributes:
        image: Of the frames.
        audio: Of the spectrogram.
        audio_positions: "interpolate" resizes AudioMAE's position grid, "cut" keeps its first part.
            AST's is cropped in time whatever this says.
    """

    image: EncoderFile | None = None
    audio: EncoderFile | None = None
    audio_positions: str = "interpolate"

    @classmethod
    def read(
        cls,
        *,
        image_weights: str | Path | None = None,
        audio_weights: str | Path | None = None,
        image_sha256: str | None = None,
        audio_sha256: str | None = None,
        audio_positions: str = "interpolate",
    ) -> "Encoders":
        """Reads the files, each once.

        Args:
            image_weights: A file of any kind of `encoder_kinds.KINDS`.
            audio_weights: The same for the audio encoder.
            image_sha256: What the file's SHA-256 has to be; any, where None.
            audio_sha256: The same for the audio encoder.
            audio_positions: As the attribute.

        Raises:
            UserError: One, that names everything wrong with either file.
        """
        if audio_positions not in AUDIO_POSITIONS:
            raise UserError(
                f"audio_positions is {audio_positions!r}; expected one of {AUDIO_POSITIONS}"
            )
        found, problems = {}, []
        given = {"image": (image_weights, image_sha256), "audio": (audio_weights, audio_sha256)}
        for side, (path, sha256) in given.items():
            try:
                found[side] = None if path is None else _read(path, sha256, side)
            except UserError as error:
                problems.append(str(error))
        if problems:
            raise UserError("\n".join(problems))
        return cls(**found, audio_positions=audio_positions)

    def fit(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of `ModelConfig` in which the files' settings stand where `values` leave None.

        Args:
            values: As in `config.model`: of "image" and "audio" settings may be None or absent.
        """
        fitted = dict(values)
        for side in SIDES:
            file = getattr(self, side)
            given = {k: v for k, v in (values.get(side) or {}).items() if v is not None}
            fitted[side] = ({} if file is None else file.encoder.config()) | given
        return fitted

    def params(self, config: ModelConfig) -> tuple[dict[str, np.ndarray], Sources]:
        """What the files of the model's encoders give, without drawing the rest.

        Returns:
            Parameters in float32 by path, of `pos_embed` only the rows of special tokens and
            patches; and where they come from.

        Raises:
            UserError: One, that names everything in which either file does not fit the model.
        """
        loaded, problems = {}, []
        sources: Sources = {side: {"kind": "random"} for side in config.encoders}
        for side in config.encoders:
            if (file := getattr(self, side)) is None:
                continue
            try:
                params, sources[side] = self._load(getattr(config, side), side, file)
            except UserError as error:
                problems.append(str(error))
            else:
                loaded |= {f"{side}_encoder.{name}": array for name, array in params.items()}
        if problems:
            raise UserError("\n".join(problems))
        return loaded, sources

    def _load(
        self, config: EncoderConfig, side: str, file: EncoderFile
    ) -> tuple[dict[str, np.ndarray], Sources]:
        """An encoder's parameters with the positions of this model's grid, and where from."""
        _check_fits(config, side, file)
        encoder = file.encoder
        params = dict(encoder.params)
        params["pos_embed"], how = _positions(config, side, file, self.audio_positions)
        source = {"file": file.path, "sha256": file.sha256, **encoder.describe(), "grid": how}
        pretrained = encoder.kind.mean, encoder.kind.std
        source["normalised_as_in_pretraining"] = (config.mean, config.std) == pretrained
        return params, source


def initial_params(
    config: ModelConfig, *, seed: int, encoders: Encoders | None = None
) -> tuple[dict[str, np.ndarray], Sources]:
    """Parameters before the first step.

    Args:
        config: The model's sizes.
        seed: Of everything that no file gives.
        encoders: The encoders' files, if any.

    Returns:
        Every parameter in float32, by path, and where they come from as JSON takes it.

    Raises:
        UserError: One, that names everything in which the files do not fit the model.
    """
    loaded, sources = (encoders or Encoders()).params(config)
    params = {path: np.array(x) for path, x in init_params(config, seed).items()}
    for path, array in loaded.items():
        if path.endswith(".pos_embed"):
            params[path][:, : array.shape[1]] = array  # the prompts' rows stay as drawn
        else:
            params[path] = array
    return params, {"seed": seed, **sources}


# A whole model and one that starts from it may differ in these: no tensor but the classifier's
# follows from the first, and the others can leave parts out.
_FREE = ("num_classes", "dtype", "drop_path")
_PARTS = (
    *("modalities", "prompts", "stages", "prompted", "temporal_depth"),
    *("fusion", "fusion_layers", "fusion_pooling"),
)


def differences(config: ModelConfig, base: ModelConfig) -> dict[str, str]:
    """In what a model differs from one that it starts from: name of the setting -> in words."""
    here, there = flat(config.to_dict()), flat(base.to_dict())
    return {
        name: f"model.{name} is {here[name]!r}, there {there[name]!r}"
        for name in here
        if here[name] != there[name] and name not in _FREE
    }


def params_from_model(
    config: ModelConfig,
    params: Mapping[str, np.ndarray],
    base: ModelConfig,
    *,
    classes: Sequence[int] | None,
    seed: int,
) -> dict[str, np.ndarray]:
    """Parameters before the first step of fine-tuning a whole model.

    Args:
        config: The sizes wanted: those of the model, but for the classes and for parts that are
            left out. Fusion may also be added, because it starts as if it were not there.
        params: Every parameter of the model.
        base: Its config.
        classes: The model's class for each class wanted; None draws its classifier anew.
        seed: Of what is drawn.

    Returns:
        Every parameter in float32, by path.

    Raises:
        UserError: That names every size in which the model differs.
    """
    shapes, given, differ = abstract_params(config), dict(params), differences(config, base)
    for side in config.encoders:
        path = f"{side}_encoder.pos_embed"
        if (
            config.prompts_of(side) == 0 and path in given
        ):  # the last positions are those of prompts
            given[path] = given[path][:, : shapes[path].shape[1]]
    anew = [path for path in shapes if path.startswith("fusion.") and path not in given]
    for path in (path for path in shapes if path.startswith("classifier.")):
        if classes is None:
            anew.append(path)
        else:
            given[path] = given[path][..., list(classes)]
    kept = [path for path in shapes if path not in anew]
    fits = all(path in given and given[path].shape == shapes[path].shape for path in kept)
    if not fits or not differ.keys() <= set(_PARTS):
        raise UserError(f"config.init_from is a model of other sizes: {'; '.join(differ.values())}")
    drawn = init_params(config, seed) if anew else {}
    return {path: np.array(drawn[path]) if path in anew else given[path] for path in shapes}


def encoder_from_file(file: TensorFile) -> PretrainedEncoder:
    """Reads an encoder of any known format.

    Raises:
        UserError: Where the file holds none, or not a whole one.
    """
    if is_mma_dfer(file):
        raise UserError(
            f"{file.path} is a whole MMA-DFER model, not an encoder: config.init_from takes it to "
            f'train on, mmadfer_jax.load_model("{file.path}") to use it'
        )
    encoder = read_encoder(file)
    if encoder is None:
        names = ", ".join(sorted(file.tensors)[:6])
        raise UserError(
            f"{file.path} is nothing this program knows (MMA-DFER, MAE-Face, AudioMAE, AST, or ViT "
            f"of timm, Hugging Face or JAX): its {len(file.tensors)} tensors are {names} ..."
        )
    return encoder


def _read(path: str | Path, sha256: str | None, side: str) -> EncoderFile:
    tensors = read_tensors(path, sha256)
    file = EncoderFile(str(path), tensors.sha256, encoder_from_file(tensors))
    if file.encoder.kind.side != side:
        takes = {"image": "an image encoder (3 channels)", "audio": "an audio encoder (1 channel)"}
        raise UserError(f"{file}; {side}_weights takes {takes[side]}")
    return file


def _check_fits(config: EncoderConfig, side: str, file: EncoderFile) -> None:
    expected = file.encoder.config()
    names = [name for name in _MUST_FIT if name != "heads" or file.encoder.heads_known]
    wrong = [
        f"model.{side}.{name} is {getattr(config, name)!r}, the file has {expected[name]!r}"
        for name in names
        if getattr(config, name) != expected[name]
    ]
    if wrong:
        raise UserError(f"{file} that does not fit the model: {'; '.join(wrong)}")


def _positions(
    config: EncoderConfig, side: str, file: EncoderFile, audio_positions: str
) -> tuple[np.ndarray, Sources]:
    """The position embeddings of special tokens and patches [1, S + N, D], and how they came."""
    goal, patches = config.grid, file.encoder.num_patches
    if side == "image":
        rows = columns = square_side(patches) or 0
    elif config.patch_order == "rows":  # time-major, with as many bands as here
        rows, columns = patches // goal[1], goal[1]
    else:  # frequency-major
        rows, columns = goal[0], patches // goal[0]
    if rows * columns != patches:
        raise UserError(
            f"{file} with {patches} patch positions, which make no grid like the model's "
            f"{goal[0]}x{goal[1]}; look at model.{side}.patch and stride"
        )
    specials, tokens = np.split(file.encoder.params["pos_embed"][0], [config.special_tokens])
    grid = tokens.reshape(rows, columns, -1)
    if grid.shape[:2] == goal:
        resized, how = grid, "unchanged"
    elif config.patch_order == "columns":
        resized, how = positions.crop_time(grid, goal), "crop"
    elif side == "audio" and audio_positions == "cut":
        resized, how = positions.cut(grid, goal, source=str(file)), "cut"
    else:
        resized, how = positions.resize(grid, goal), "interpolate"
    tokens = np.concatenate([specials, resized.reshape(-1, grid.shape[-1])])[None]
    return tokens, {"from": list(grid.shape[:2]), "to": list(goal), "how": how}
