"""The parameters a training run starts from: drawn at random, encoders from their own files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.mma_dfer import AUDIO_STRIDE, ModelConfig
from mmadfer_jax.models.params import init_params
from mmadfer_jax.models.vit import grid_size
from mmadfer_jax.weights import positions
from mmadfer_jax.weights.encoder_kinds import PretrainedEncoder
from mmadfer_jax.weights.encoders import read_encoder
from mmadfer_jax.weights.files import TensorFile, read_tensors
from mmadfer_jax.weights.layout import square_side
from mmadfer_jax.weights.mma_dfer import is_mma_dfer

Sources = dict[str, Any]

AUDIO_POSITIONS = ("interpolate", "cut")

# Settings that an encoder's file decides; None in a config takes them from the file.
_FROM_FILE = {
    "image": ("image_patch", "image_stride", "image_mean", "image_std", "image_norm_eps"),
    "audio": ("audio_encoder", "audio_patch", "audio_stride", "audio_norm_eps"),
    "both": ("width", "depth", "heads", "mlp_dim"),
}


def initial_params(
    config: ModelConfig,
    *,
    seed: int,
    image_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    image_sha256: str | None = None,
    audio_sha256: str | None = None,
    audio_positions: str = "interpolate",
) -> tuple[dict[str, np.ndarray], Sources]:
    """Parameters before the first step.

    Args:
      config: the model's sizes.
      seed: of everything that no file gives.
      image_weights: a file of any kind of `encoder_kinds.KINDS`; random where None.
      audio_weights: the same for the audio encoder.
      image_sha256: what the file's SHA-256 has to be; any, where None.
      audio_sha256: the same for the audio encoder.
      audio_positions: "interpolate" resizes AudioMAE's position grid, "cut" keeps its first part.
        AST's is cropped in time whatever this says.

    Returns:
      Every parameter in float32, by path, and where they come from as JSON takes it.

    Raises:
      UserError: one, that names everything wrong with either file.
    """
    loaded, sources = load_encoders(
        config,
        image_weights=image_weights,
        audio_weights=audio_weights,
        image_sha256=image_sha256,
        audio_sha256=audio_sha256,
        audio_positions=audio_positions,
    )
    params = {path: np.array(x) for path, x in init_params(config, seed).items()}
    for path, array in loaded.items():
        if path.endswith(".pos_embed"):
            params[path][:, : array.shape[1]] = array  # the prompts' rows stay as drawn
        else:
            params[path] = array
    return params, {"seed": seed, **sources}


def load_encoders(
    config: ModelConfig,
    *,
    image_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    image_sha256: str | None = None,
    audio_sha256: str | None = None,
    audio_positions: str = "interpolate",
) -> tuple[dict[str, np.ndarray], Sources]:
    """What the encoders' files give, as `initial_params` takes it, without drawing the rest.

    Returns:
      Parameters in float32 by path, of `pos_embed` only the rows of special tokens and patches;
      and where they come from.

    Raises:
      UserError: one, that names everything wrong with either file.
    """
    if audio_positions not in AUDIO_POSITIONS:
        raise UserError(
            f"audio_positions is {audio_positions!r}; expected one of {AUDIO_POSITIONS}"
        )
    sources: Sources = {"image": {"kind": "random"}, "audio": {"kind": "random"}}
    loaded, problems = {}, []
    for side, path, sha256 in (
        ("image", image_weights, image_sha256),
        ("audio", audio_weights, audio_sha256),
    ):
        if path is None:
            continue
        try:
            params, sources[side] = _load(config, side, path, sha256, audio_positions)
        except UserError as error:
            problems.append(str(error))
        else:
            loaded.update({f"{side}_encoder.{name}": array for name, array in params.items()})
    if problems:
        raise UserError("\n".join(problems))
    return loaded, sources


def fit_config(
    values: Mapping[str, Any],
    *,
    image_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
) -> ModelConfig:
    """Builds the model's config, taking what is None or absent in it from the encoder files.

    Args:
      values: names of `ModelConfig`; those of sizes, patches, norm eps, the audio encoder's kind
        and the image normalisation may be None.
      image_weights: the image encoder's file, if any.
      audio_weights: the audio encoder's file, if any.

    Raises:
      UserError: for a file that cannot be read, an unknown name or a bad value.
    """
    suggested: dict[str, Any] = {}
    for side, path in (("image", image_weights), ("audio", audio_weights)):
        if path is not None:
            suggested |= suggest(encoder_from_file(read_tensors(path)), side)
    given = {name: value for name, value in values.items() if value is not None}
    unknown = sorted(
        name
        for name, value in values.items()
        if value is None and not any(name in names for names in _FROM_FILE.values())
    )
    if unknown:
        raise UserError(f"model settings {unknown} are None; an encoder's file does not give them")
    return ModelConfig.from_dict({**suggested, **given})


def suggest(encoder: PretrainedEncoder, side: str) -> dict[str, Any]:
    """The settings of `ModelConfig` that go with an encoder file on a side, "image" or "audio"."""
    kind = encoder.kind
    shared = {name: getattr(encoder, name) for name in _FROM_FILE["both"]}
    if side == "image":
        return shared | {
            "image_patch": encoder.patch[0],
            "image_stride": encoder.patch[0],
            "image_mean": kind.image_mean or (0.0, 0.0, 0.0),
            "image_std": kind.image_std or (1.0, 1.0, 1.0),
            "image_norm_eps": kind.norm_eps,
        }
    name = kind.audio_encoder or "audiomae"
    patch = encoder.patch[::-1] if name == "ast" else encoder.patch
    stride = (AUDIO_STRIDE["ast"],) * 2 if name == "ast" else patch
    return shared | {
        "audio_encoder": name,
        "audio_patch": patch,
        "audio_stride": stride,
        "audio_norm_eps": kind.norm_eps,
    }


def encoder_from_file(file: TensorFile) -> PretrainedEncoder:
    """Reads an encoder of any known format.

    Raises:
      UserError: where the file holds none, or not a whole one.
    """
    if is_mma_dfer(file):
        raise UserError(
            f"{file.path} is a whole MMA-DFER model, not an encoder: "
            f'mmadfer_jax.load("{file.path}") and mmadfer_jax.predict take it as it is'
        )
    encoder = read_encoder(file)
    if encoder is None:
        names = ", ".join(sorted(file.tensors)[:6])
        raise UserError(
            f"{file.path} is nothing this program knows (MMA-DFER, MAE-Face, AudioMAE, AST, or ViT "
            f"of timm, Hugging Face or JAX): its {len(file.tensors)} tensors are {names} ..."
        )
    return encoder


def _load(
    config: ModelConfig, side: str, path: str | Path, sha256: str | None, audio_positions: str
) -> tuple[dict[str, np.ndarray], Sources]:
    """An encoder's parameters with the positions of this model's grid, and where from."""
    file = read_tensors(path, sha256)
    encoder = encoder_from_file(file)
    what = f"{path} (SHA-256 {file.sha256}) is a {encoder.kind.title} encoder"
    _check_fits(config, side, encoder, what)
    params = dict(encoder.params)
    params["pos_embed"], how = _positions(config, side, encoder, audio_positions, what)
    source = {"file": str(path), "sha256": file.sha256, **encoder.describe(), "grid": how}
    if side == "image":
        source["normalised_as_in_pretraining"] = (config.image_mean, config.image_std) == (
            encoder.kind.image_mean,
            encoder.kind.image_std,
        )
    return params, source


def _check_fits(config: ModelConfig, side: str, encoder: PretrainedEncoder, what: str) -> None:
    wanted = None if side == "image" else config.audio_encoder
    if encoder.kind.audio_encoder != wanted:
        takes = {
            None: "an image encoder (3 channels)",
            "audiomae": "an AudioMAE encoder (1 channel)",
            "ast": "an AST encoder (model.audio_encoder='ast')",
        }
        hint = "" if None in (wanted, encoder.kind.audio_encoder) else (
            f"; for this file set model.audio_encoder={encoder.kind.audio_encoder!r}"
        )  # fmt: skip
        raise UserError(f"{what}; {side}_weights takes {takes[wanted]}{hint}")
    suggested = suggest(encoder, side)
    names = [*_FROM_FILE["both"], f"{side}_patch", f"{side}_norm_eps"]
    if not encoder.heads_known:
        names.remove("heads")
    wrong = [
        f"model.{name} is {getattr(config, name)}, the file has {suggested[name]}"
        for name in names
        if getattr(config, name) != suggested[name]
    ]
    if wrong:
        raise UserError(f"{what} that does not fit the model: {'; '.join(wrong)}")


def _positions(
    config: ModelConfig, side: str, encoder: PretrainedEncoder, audio_positions: str, what: str
) -> tuple[np.ndarray, Sources]:
    """The position embeddings of special tokens and patches [1, S + N, D], and how they came."""
    if side == "image":
        shape = (config.image_size,) * 2
        goal = grid_size(shape, (config.image_patch,) * 2, (config.image_stride,) * 2)
    else:
        goal = grid_size(config.spectrogram_shape, config.audio_patch, config.audio_patch_stride)
    if encoder.kind.audio_encoder is None:
        rows = columns = square_side(encoder.patches) or 0
    elif encoder.kind.audio_encoder == "audiomae":  # time-major, with as many bands as here
        rows, columns = encoder.patches // goal[1], goal[1]
    else:  # frequency-major
        goal = goal[::-1]
        rows, columns = goal[0], encoder.patches // goal[0]
    if rows * columns != encoder.patches:
        raise UserError(
            f"{what} with {encoder.patches} patch positions, which make no grid like the model's "
            f"{goal[0]}x{goal[1]}; look at the model's patch and stride"
        )
    specials, patches = np.split(encoder.params["pos_embed"][0], [encoder.specials])
    grid = patches.reshape(rows, columns, -1)
    if grid.shape[:2] == goal:
        resized, how = grid, "unchanged"
    elif encoder.kind.audio_encoder == "ast":
        resized, how = positions.crop_time(grid, goal), "crop"
    elif side == "audio" and audio_positions == "cut":
        resized, how = positions.cut(grid, goal, source=str(what)), "cut"
    else:
        resized, how = positions.resize(grid, goal), "interpolate"
    tokens = np.concatenate([specials, resized.reshape(-1, grid.shape[-1])])[None]
    return tokens, {"from": list(grid.shape[:2]), "to": list(goal), "how": how}
