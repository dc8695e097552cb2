"""Whole models in files: the authors' released checkpoints, and files of our own."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.mma_dfer import ModelConfig
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

_HEAD = "leftovers."


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model file says beside the parameters.

    Attributes:
      file: the file.
      sha256: of the file.
      title: what it was recognised as.
      classes: the K class names in order; None where nothing tells.
      preparation: settings of the data it was trained on; None where nothing tells.
      sources: where its first weights came from.
      leftovers: the authors' names -> tensors that no forward pass reads.
      notes: what a user should know of it.
    """

    file: str
    sha256: str
    title: str
    classes: tuple[str, ...] | None
    preparation: dict[str, Any] | None
    sources: dict[str, Any]
    leftovers: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()


def load_checkpoint_file(
    path: str | Path, *, sha256: str | None = None, num_classes: int | None = None
) -> tuple[dict[str, np.ndarray], ModelConfig, ModelInfo]:
    """Loads a whole model: a released MMA-DFER checkpoint, or a file that `save_model` wrote.

    Args:
      path: the file; its name says nothing.
      sha256: what the file's SHA-256 has to be; any, where None.
      num_classes: how many classes it has to have; any, where None.

    Returns:
      Every parameter in float32 by path, the model's config with every size read off the file, and
      what else the file says.

    Raises:
      UserError: for a file that is damaged, no MMA-DFER model, or one with missing, unexpected or
        mis-shaped tensors, all of them named.
    """
    return model_from_file(read_tensors(path, sha256), num_classes=num_classes)


def model_from_file(
    file: TensorFile, *, num_classes: int | None = None
) -> tuple[dict[str, np.ndarray], ModelConfig, ModelInfo]:
    """`load_checkpoint_file` of an open file."""
    if not mma_dfer.is_mma_dfer(file):
        names = ", ".join(sorted(file.tensors)[:6])
        raise UserError(
            f"{file.path} is no MMA-DFER model: its tensors are {names} ... An encoder's file goes "
            "into config.image_weights or config.audio_weights"
        )
    own = file.own
    if own is not None and own.get("layout") == "own":
        params, config, heads = _read_own(file, own)
    else:
        params, config, heads = _read_authors(file, own)
    if num_classes is not None and config.num_classes != num_classes:
        raise UserError(
            f"{file.path} has {config.num_classes} classes (model.num_classes), expected "
            f"{num_classes}: it was trained on other data or labels"
        )
    info = ModelInfo(
        file=str(file.path),
        sha256=file.sha256,
        title="MMA-DFER checkpoint" if own is None else "model of mmadfer_jax",
        classes=RELEASED_CLASSES.get(config.num_classes),
        preparation=None,
        sources={"file": str(file.path), "sha256": file.sha256},
        leftovers=heads,
        notes=_NOTES,
    )
    if own is not None:
        info = dataclasses.replace(
            info,
            classes=own["classes"] and tuple(own["classes"]),
            preparation=own["preparation"],
            sources=own["sources"],
            notes=(),
        )
    if info.classes is not None and len(info.classes) != config.num_classes:
        raise UserError(
            f"{file.path} names {len(info.classes)} classes and has {config.num_classes} logits"
        )
    return params, config, info


_NOTES = (
    "a released checkpoint holds no class names and no data settings: classes are in the authors' "
    "order, sound is expected at the clips' own sample rate",
)


def _read_own(file: TensorFile, own: Mapping[str, Any]):
    config = ModelConfig.from_dict(own["config"])
    heads = {n.removeprefix(_HEAD): x for n, x in file.tensors.items() if n.startswith(_HEAD)}
    tensors = {name: x for name, x in file.tensors.items() if not name.startswith(_HEAD)}
    shapes = {path: p.shape for path, p in abstract_params(config).items()}
    names = {path: (path,) for path in shapes}
    params = take(tensors, names, shapes, OURS, leftovers=r"(?!)", source=str(file.path))
    return params, config, heads


def _read_authors(file: TensorFile, own: Mapping[str, Any] | None):
    tensors = plain_names(file.tensors, mma_dfer.ROOT, str(file.path)).tensors
    if own is None:
        config = mma_dfer.read_config(tensors, str(file.path))
    else:
        config = ModelConfig.from_dict(own["config"])
    source = f"{file.path}, recognised as an MMA-DFER checkpoint,"
    params = mma_dfer.from_torch(tensors, config, source)
    return params, config, mma_dfer.leftovers(tensors)


def save_model(
    path: str | Path,
    params: Mapping[str, np.ndarray],
    config: ModelConfig,
    *,
    layout: str,
    classes: Sequence[str] | None = None,
    preparation: Mapping[str, Any] | None = None,
    sources: Mapping[str, Any] | None = None,
    leftovers: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a whole model; the file appears when it is complete.

    Args:
      path: ends in ".safetensors", or in ".pth" for the authors' layout.
      params: every parameter by path.
      config: the model's config.
      layout: "authors" has the tensor names of a released checkpoint with the prefix `module.`,
        "own" the paths and axes of this program. Both say beside the tensors what follows.
      classes: the K class names in order.
      preparation: settings of the data it was trained on.
      sources: where its first weights came from.
      leftovers: the unused heads of the released checkpoint it came from; zeros where None.

    Raises:
      UserError: for another ending, or a model that the authors' program cannot compute.
    """
    check_target(path, layout, config)
    if classes is not None and len(classes) != config.num_classes:
        raise UserError(f"{len(classes)} class names for {config.num_classes} logits")
    if missing := sorted(set(abstract_params(config)) - set(params)):
        raise UserError(f"parameters are missing: {', '.join(missing)}")
    own = {
        "content": "model",
        "layout": layout,
        "config": dataclasses.asdict(config),
        "classes": classes and list(classes),
        "preparation": preparation and dict(preparation),
        "sources": dict(sources or {}),
    }
    if layout == "own":
        tensors = {path: np.asarray(x) for path, x in params.items()}
        tensors |= {_HEAD + name: x for name, x in (leftovers or {}).items()}
    else:
        heads = leftovers or mma_dfer.fresh_leftovers(config)
        tensors = {**mma_dfer.to_torch(params, config), **heads}
        tensors = {"module." + name: x for name, x in tensors.items()}
    write = write_pickle if Path(path).suffix == ".pth" else write_safetensors
    write(path, tensors, json.loads(json.dumps(own)))


def check_target(path: str | Path, layout: str, config: ModelConfig | None = None) -> None:
    """Refuses a target that `save_model` cannot write, before anything slow starts.

    Raises:
      UserError: that says what can be written.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}; expected one of {LAYOUTS}")
    endings = (".safetensors", ".pth") if layout == "authors" else (".safetensors",)
    if Path(path).suffix not in endings:
        raise UserError(f"{path}: expected a name that ends in {' or '.join(endings)}")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"no such directory: {Path(path).parent}")
    if layout == "authors" and config is not None:
        mma_dfer.check_authors_program(config)
