"""What a run's settings and data were, and what may differ when it is used again."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from upath import UPath

from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.fold import Fold
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import flat
from mmadfer_jax.training import processes
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.settings import plain, sides_of
from mmadfer_jax.weights.files import file_sha256

# Settings that steer speed or place but no number: they may differ between a run and the command
# that goes on with it.
_FREE = (
    "allow_mismatch",
    "audio_sha256",
    "audio_weights",
    "checkpoint.",
    "compilation_cache",
    "compute.",
    "data.dir",
    "data.num_workers",
    "eval.",
    "image_sha256",
    "image_weights",
    "init_from",
    "log_every_steps",
    "mesh.",
    "sharding",
)
# Those that `going_on` speaks of.
_GOING_ON = (
    "train.batch_size",
    "train.epochs",  # and epochs_before
    "train.steps_before",
    "train.steps_per_epoch",
)


def describe_data(fold: Fold) -> dict[str, Any]:
    """The clips of a fold for a card: a changed, added or missing one changes the digest."""
    description: dict[str, Any] = {
        "name": fold.info.name,
        "classes": list(fold.info.classes),
    }
    for name, source in (("train", fold.train), ("test", fold.test)):
        description[name] = {
            "splits": list(source.splits),
            "clips": len(source),
            "sha256": clips_sha256(source),
        }
    return description


def clips_sha256(source: RecordSource) -> str:
    """Of the names and labels of clips in their order."""
    digest = hashlib.sha256()
    for clip, label in zip(source.ids, source.labels.tolist(), strict=True):
        digest.update(f"{clip}\0{label}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def check_same_everywhere(config: ConfigDict, fold: Fold, workdir: Path | UPath) -> None:
    """Refuses processes of one run that were started with different settings or data.

    Where data and weight files lie may differ from host to host; what is in them may not.

    Raises:
        UserError: That names what differs, or a work directory that the hosts do not share.
    """
    settings = {
        name: value
        for name, value in flat(plain(config)).items()
        if name not in ("data.dir", "image_weights", "audio_weights", "init_from")
    }
    processes.agree("their settings", {**settings, "--workdir": str(workdir)})
    processes.agree("their data", flat(describe_data(fold)))


def check_same_run(now: Mapping[str, Any], card: ModelCard, workdir: Path | UPath) -> None:
    """Refuses settings other than those of the run in a directory.

    Args:
        now: The settings at hand, `plain` and resolved.
        card: The run's.
        workdir: Of the run, for the error.

    Raises:
        UserError: That names every setting that differs.
    """
    there, here = flat(card.training["config"]), flat(now)
    different = [
        f"{name}: {there.get(name)!r} there, {here.get(name)!r} now"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name) and not name.startswith(_FREE + _GOING_ON)
    ]
    if different:
        raise UserError(
            f"{workdir} holds a run with other settings. {'; '.join(different)}. "
            "Take another --workdir, or the settings of that run"
        )


def check_same_files(config: Mapping[str, Any], card: ModelCard, workdir: Path | UPath) -> None:
    """Refuses encoder files other than those a run began with, where they are there.

    Raises:
        UserError: That gives both SHA-256.
    """
    for side in sides_of(config):
        path, then = config[f"{side}_weights"], card.sources.get(side, {}).get("sha256")
        if path is None or not Path(path).is_file():
            continue  # the run has its own copy
        if then != (now := file_sha256(path)):
            raise UserError(
                f"config.{side}_weights={path} has SHA-256 {now}, but the run in {workdir} began "
                f"with {then or 'no such file'}; leave the flag away, or take another --workdir"
            )


def check_same_data(now: Mapping[str, Any], card: ModelCard, workdir: Path | UPath) -> None:
    """Refuses to train on with other clips than before: batches would hold others, silently.

    Args:
        now: `describe_data` of the data at hand.
        card: The run's.
        workdir: Of the run, for the error.

    Raises:
        UserError: That names what differs.
    """
    there, here = flat(card.data), flat(now)
    different = [
        f"{name}: {there.get(name)!r} there, {here.get(name)!r} now"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    if different:
        raise UserError(
            f"the data are not those of the run in {workdir}. {'; '.join(different)}. Give the "
            "dataset it was trained on, or take another --workdir"
        )


def going_on(
    recipe: Mapping[str, Any], steps_per_epoch: int, card: ModelCard, step: int
) -> tuple[Epochs, list[str]]:
    """How a run goes on, whose length or batch size may be another than before.

    Args:
        recipe: `config.train` at hand.
        steps_per_epoch: Of the data at hand with that batch size.
        card: The run's.
        step: Steps it has taken.

    Returns:
        Its epochs, and what to say of them.

    Raises:
        UserError: The result would not be well defined, or the run is longer already.
    """
    before = card.training["config"]["train"]
    epochs = Epochs(**{field.name: before[field.name] for field in dataclasses.fields(Epochs)})
    finished, rest = epochs.finished(step)
    said = []
    if recipe["batch_size"] != before["batch_size"]:
        change = f"train.batch_size: {before['batch_size']} there, {recipe['batch_size']} now"
        if rest:
            raise UserError(
                f"{change}. The newest checkpoint stands inside epoch {finished + 1}, after step "
                f"{step}; only between two epochs is it clear which clips come next. Go on with "
                "the batch size of before to the end of that epoch"
            )
        epochs = Epochs(epochs.epochs, steps_per_epoch, steps_before=step, epochs_before=finished)
        said.append(f"{change}; from epoch {finished + 1} on, the learning rate stays")
    if recipe["epochs"] != before["epochs"]:
        change = f"train.epochs: {before['epochs']} there, {recipe['epochs']} now"
        begun = finished + bool(rest)
        if recipe["epochs"] < begun:
            raise UserError(f"{change}, but {begun} are begun; take another --workdir")
        epochs = dataclasses.replace(epochs, epochs=recipe["epochs"])
        said.append(f"{change}; from here on the cosine is that of {recipe['epochs']} epochs")
    return epochs, said


def check_preparation(
    preparation: Mapping[str, Any], card: ModelCard, allowed: Iterable[str]
) -> None:
    """Refuses data prepared otherwise than those a model was trained on.

    Args:
        preparation: `DatasetInfo.preparation` of the data at hand.
        card: The model's; where it does not say, any data will do.
        allowed: Names in which the preparations may differ.

    Raises:
        UserError: That names every setting that differs.
    """
    if card.preparation is None:
        return
    then, allowed = card.preparation, set(allowed)
    different = [
        f"{name}: the data have {preparation.get(name)!r}, the model {then.get(name)!r}"
        for name in sorted(preparation.keys() | then.keys())
        if preparation.get(name) != then.get(name) and name not in allowed
    ]
    if different:
        raise UserError(
            f"the data were not prepared as the model expects. {'; '.join(different)}. Prepare "
            "them again, or name the setting in config.allow_mismatch (evaluate: --allow_mismatch)"
        )
