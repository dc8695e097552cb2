"""A model's card: all that an answer depends on beside the parameters, and where it comes from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmadfer_jax.clips.reading import MISSING_SOUND, Reading, silence
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig

# 3: says which parts of the model are left out, and whether frames are shuffled.
CARD_FORMAT = 3


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is not on the card cannot influence an answer.

    A run's checkpoints, our own files and released checkpoints that were read all have one.

    Attributes:
        model: Sizes, normalisation and compute type.
        classes: The K class names in the order of the logits; None where nothing tells.
        preparation: How the clips it was trained on were prepared (`DatasetInfo.preparation`); None
            where nothing tells.
        frame_order: "time", "text" or "shuffled", the order in which frames are seen.
        missing_sound: "zeros" or "mean", what a clip without sound is before the normalisation.
        sources: Where its first weights came from, with SHA-256.
        data: The clips it was trained on: name of the dataset, splits, counts, digest of the ids.
        training: The settings of its training.
        figures: What was measured of it, such as UAR and WAR, and on what.
        notes: What a user should know of it.
    """

    model: ModelConfig
    classes: tuple[str, ...] | None
    preparation: dict[str, Any] | None = None
    frame_order: str = "time"
    missing_sound: str = "zeros"
    sources: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.classes is not None and len(self.classes) != self.model.num_classes:
            raise UserError(
                f"{len(self.classes)} class names ({', '.join(self.classes)}) for "
                f"{self.model.num_classes} logits"
            )
        if self.missing_sound not in MISSING_SOUND:
            raise UserError(
                f"missing_sound is {self.missing_sound!r}; expected one of {MISSING_SOUND}"
            )

    @property
    def reading(self) -> Reading:
        """How prepared clips are read for this model."""
        audio = self.model.audio
        return Reading(
            num_frames=self.model.num_frames,
            length=audio.shape[0],
            frame_order=self.frame_order,
            missing_sound=silence(self.missing_sound, audio.mean),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON reads it back."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"model": self.model.to_dict(), "notes": list(self.notes)}
        fields["classes"] = self.classes and list(self.classes)
        return {"format": CARD_FORMAT, **fields}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "ModelCard":
        """Reads back what `to_dict` gave.

        Args:
            values: What it gave.
            source: Whose card it is, for the error.

        Raises:
            UserError: Of another format, or not a card.
        """
        found = values.get("format") if isinstance(values, Mapping) else None
        if found != CARD_FORMAT:
            raise UserError(
                f"{source} has a model card of format {found}; this version reads format "
                f"{CARD_FORMAT}. Train or export it again with this version"
            )
        fields = {name: value for name, value in values.items() if name != "format"}
        try:
            fields["model"] = ModelConfig.from_dict(fields["model"])
            fields["classes"] = fields["classes"] and tuple(fields["classes"])
            return cls(**{**fields, "notes": tuple(fields["notes"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{source} has a broken model card ({error!r})") from error
