"""Whole models in files: the authors' released checkpoints, and files of our own."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.card import ModelCard
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.weights import mma_dfer
from mmadfer_jax.weights.files import TensorFile, read_tensors, write_pickle, write_safetensors
from mmadfer_jax.weights.layout import OURS, plain_names, take

LAYOUTS = ("authors", "own")

# Class orders of the released checkpoints, which do not hold them; the number of logits tells.
RELEASED_CLASSES = {
    7: ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear"),  # DFEW
    11: (  # MAFW in the authors' order, which is not the dataset's
        *("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
        *("contempt", "anxiety", "helplessness", "disappointment"),
    ),
}
RELEASED_NOTE = (
    "a released checkpoint holds no class names and no data settings: classes are in the authors' "
    "order, sound is expected at the clips' own sample rate"
)

_HEAD = "leftovers."


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A whole model as a file holds it.

    Attributes:
        path: The file.
        sha256: Of the file.
        title: What it was recognised as.
        params: Every parameter in float32 by path.
        card: What the file says of the model, or what is known of released checkpoints.
        leftovers: The authors' names -> tensors that no forward pass reads.
    """

    path: str
    sha256: str
    title: str
    params: dict[str, np.ndarray]
    card: ModelCard
    leftovers: dict[str, np.ndarray]


def read_model(path: str | Path, *, sha256: str | None = None) -> ModelFile:
    """Reads a whole model: a released MMA-DFER checkpoint, or a file that `save_model` wrote.

    Args:
        path: The file; its name says nothing.
        sha256: What the file's SHA-256 has to be; any, where None.

    Raises:
        UserError: For a file that is damaged, no MMA-DFER model, or one with missing, unexpected or
            mis-shaped tensors, all of them named.
    """
    return model_from_file(read_tensors(path, sha256))


def model_from_file(file: TensorFile) -> ModelFile:
    """`read_model` of an open file."""
    if not mma_dfer.is_mma_dfer(file):
        names = ", ".join(sorted(file.tensors)[:6])
        raise UserError(
            f"{file.path} is no MMA-DFER model: its tensors are {names} ... An encoder's file goes "
            "into config.image_weights or config.audio_weights"
        )
    own = file.own
    if own is None:
        tensors = plain_names(file.tensors, mma_dfer.ROOT, str(file.path)).tensors
        model = mma_dfer.read_config(tensors, str(file.path))
        card = ModelCard(
            model=model,
            classes=RELEASED_CLASSES.get(model.num_classes),
            sources={"file": str(file.path), "sha256": file.sha256},
            notes=(RELEASED_NOTE,),
        )
    else:
        card = ModelCard.from_dict(own.get("card"), str(file.path))
    read = _read_own if own is not None and own.get("layout") == "own" else _read_authors
    params, leftovers = read(file, card.model)
    return ModelFile(
        path=str(file.path),
        sha256=file.sha256,
        title="MMA-DFER checkpoint" if own is None else "model of mmadfer_jax",
        params=params,
        card=card,
        leftovers=leftovers,
    )


def _read_own(file: TensorFile, model: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    heads = {n.removeprefix(_HEAD): x for n, x in file.tensors.items() if n.startswith(_HEAD)}
    tensors = {name: x for name, x in file.tensors.items() if not name.startswith(_HEAD)}
    shapes = {path: p.shape for path, p in abstract_params(model).items()}
    names = {path: (path,) for path in shapes}
    return take(tensors, names, shapes, OURS, leftovers=r"(?!)", source=str(file.path)), heads


def _read_authors(file: TensorFile, model: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    tensors = plain_names(file.tensors, mma_dfer.ROOT, str(file.path)).tensors
    source = f"{file.path}, recognised as an MMA-DFER checkpoint,"
    return mma_dfer.from_torch(tensors, model, source), mma_dfer.leftovers(tensors)


def save_model(
    path: str | Path,
    params: Mapping[str, np.ndarray],
    card: ModelCard,
    *,
    layout: str,
    leftovers: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a whole model; the file appears when it is complete.

    Args:
        path: Ends in ".safetensors", or in ".pth" for the authors' layout.
        params: Every parameter by path.
        card: The model's; it lies beside the tensors in either layout.
        layout: "authors" has the tensor names of a released checkpoint with the prefix `module.`,
            "own" the paths and axes of this program.
        leftovers: The unused heads of the released checkpoint it came from; zeros where None.

    Raises:
        UserError: For another ending, or a model that the authors' program cannot compute.
    """
    check_target(path, layout, card.model)
    if missing := sorted(set(abstract_params(card.model)) - set(params)):
        raise UserError(f"parameters are missing: {', '.join(missing)}")
    own = {"content": "model", "layout": layout, "card": card.to_dict()}
    if layout == "own":
        tensors = {path: np.asarray(x) for path, x in params.items()}
        tensors |= {_HEAD + name: x for name, x in (leftovers or {}).items()}
    else:
        heads = leftovers or mma_dfer.fresh_leftovers(card.model)
        tensors = {**mma_dfer.to_torch(params, card.model), **heads}
        tensors = {"module." + name: x for name, x in tensors.items()}
    write = write_pickle if Path(path).suffix == ".pth" else write_safetensors
    write(path, tensors, own)


def check_target(path: str | Path, layout: str, model: ModelConfig | None = None) -> None:
    """Refuses a target that `save_model` cannot write, before anything slow starts.

    Raises:
        UserError: That says what can be written.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}; expected one of {LAYOUTS}")
    endings = (".safetensors", ".pth") if layout == "authors" else (".safetensors",)
    if Path(path).suffix not in endings:
        raise UserError(f"{path}: expected a name that ends in {' or '.join(endings)}")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"no such directory: {Path(path).parent}")
    if layout == "authors" and model is not None:
        mma_dfer.check_authors_program(model)
