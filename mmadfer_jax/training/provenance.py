"""What a checkpoint says of itself beside its arrays, and what may differ when it is used again."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmadfer_jax.errors import UserError

# Settings that steer speed or place but no number: they may differ between a checkpoint and the
# command that goes on with it. Weights files are checked by the SHA-256 of what is frozen.
_FREE = (
    "allow_mismatch",
    "audio_weights",
    "checkpoint.",
    "data.dir",
    "data.num_workers",
    "eval.",
    "image_weights",
    "log_every_steps",
    "mesh.",
    "sharding",
)


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON reads it back (tuples are lists)."""
    return json.loads(config.to_json())


@dataclasses.dataclass(frozen=True)
class Provenance:
    """A checkpoint's `metadata`.

    Attributes:
      config: the run's settings, `plain`.
      classes: the K class names in order.
      preparation: `DatasetInfo.preparation` of the data it was trained on.
      frozen_sha256: of the frozen weights in float32 (`weights_sha256`).
      sources: where the first weights came from.
    """

    config: dict[str, Any]
    classes: tuple[str, ...]
    preparation: dict[str, Any]
    frozen_sha256: str
    sources: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON reads it back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Provenance":
        """Reads back what `to_dict` gave."""
        return cls(**{**values, "classes": tuple(values["classes"])})


def check_same_run(now: Mapping[str, Any], then: Mapping[str, Any], workdir: Path) -> None:
    """Refuses to go on with a run whose settings were others.

    Raises:
      UserError: that names every setting that differs.
    """
    now, then = _flat(now), _flat(then)
    different = [
        f"{name}: {then.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name) and not name.startswith(_FREE)
    ]
    if different:
        raise UserError(
            f"{workdir} holds a run with other settings. {'; '.join(different)}. "
            "Take another --workdir, or the settings of that run"
        )


def check_data(
    classes: tuple[str, ...],
    preparation: Mapping[str, Any],
    provenance: Provenance,
    allowed: Iterable[str],
) -> None:
    """Refuses data other than of the kind a checkpoint was trained on.

    Args:
      classes: of the data at hand.
      preparation: `DatasetInfo.preparation` of the data at hand.
      provenance: the checkpoint's.
      allowed: names in which the preparations may differ (`config.allow_mismatch`).

    Raises:
      UserError: for other classes or another order of them, or that names every setting that
        differs.
    """
    then, allowed = provenance.preparation, set(allowed)
    same_names = sorted(classes) == sorted(provenance.classes)
    if classes != provenance.classes and not (same_names and "classes" in allowed):
        hint = (
            "; only the order differs: with 'classes' in config.allow_mismatch an evaluation maps "
            "them by name"
        )
        raise UserError(
            f"the checkpoint was trained on the classes {', '.join(provenance.classes)}; "
            f"the data have {', '.join(classes)}" + (hint if same_names else "")
        )
    different = [
        f"{name}: the data have {preparation.get(name)!r}, the checkpoint {then.get(name)!r}"
        for name in sorted(preparation.keys() | then.keys())
        if preparation.get(name) != then.get(name) and name not in allowed
    ]
    if different:
        raise UserError(
            f"the data were not prepared as the checkpoint expects. {'; '.join(different)}. "
            "Prepare them again, or name the setting in config.allow_mismatch"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
