"""What an answer is and what it is not: the words of the report, the page and the files."""

from collections.abc import Mapping
from typing import Any

from mmadfer_jax.timelines.timeline import Timeline

MEANING = (
    "A class says how a face and voice would be labelled by people who watched clips of the "
    "dataset that the model was trained on. It does not say what somebody feels."
)
GROUPS = (
    "A model may serve groups of people unequally. Where a table tells the group of each clip of a "
    "labelled dataset, `python -m mmadfer_jax.evaluate MODEL --data=DATASET --out=DIR "
    "--groups=TABLE.csv:COLUMN` gives UAR and WAR for each group."
)
SOUND = "The sound of a window is the same for all people in it, whoever speaks."
DOUBT = (
    "Hatched parts are doubtful, for instance because the face is small, blurred, turned away or "
    "found in few frames, or because there is no sound."
)


def training_data(timeline: Timeline) -> str:
    """A sentence on the data that the model saw, from its card."""
    return data_sentence(_card(timeline).get("data") or {})


def data_sentence(data: Mapping[str, Any]) -> str:
    """A sentence on the data that a model saw, given `ModelCard.data`."""
    if not data.get("name"):
        return "What data the model was trained on is not recorded; ask who gave it to you."
    train = data.get("train", {})
    count = f"{train['clips']:,} clips of " if "clips" in train else ""
    return f"The model was trained on {count}the dataset {data['name']}."


def statements(timeline: Timeline) -> list[str]:
    """All that a reader of a timeline should be told, a sentence or two each."""
    return [MEANING, training_data(timeline), *_card(timeline).get("notes", ()), GROUPS, SOUND]


def _card(timeline: Timeline) -> Mapping[str, Any]:
    return timeline.settings.get("card", {})
