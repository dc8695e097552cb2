"""Class names of data and of models, matched by name: never by position."""

import unicodedata
from collections.abc import Sequence

from mmadfer_jax.errors import UserError

# Names that datasets and published checkpoints have for the same expression.
_SYNONYMS = (
    ("happy", "happiness", "hap", "joy"),
    ("sad", "sadness"),
    ("neutral", "neutrality"),
    ("angry", "anger", "ang"),
    ("surprise", "surprised"),
    ("disgust", "disgusted", "dis"),
    ("fear", "fearful", "fea", "afraid"),
    ("contempt", "contemptuous"),
    ("anxiety", "anxious"),
    ("helplessness", "helpless"),
    ("disappointment", "disappointed"),
    ("worried", "worry"),
    ("calm", "calmness"),
)
_SHARED = ". --shared_classes evaluates the classes that both have"
_CANONICAL = {name: names[0] for names in _SYNONYMS for name in names}


def canonical(name: str) -> str:
    """A name without regard to case, spelling of accents and known synonyms."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return _CANONICAL.get(plain, plain)


def match_classes(data: Sequence[str], model: Sequence[str]) -> list[int]:
    """The model's class for each class of the data.

    Args:
        data: Names in the order of the labels.
        model: Names in the order of the logits.

    Returns:
        An index into `model` for each of `data`.

    Raises:
        UserError: A class of the data is none of the model's, or two are the same one.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(model):
        places.setdefault(canonical(name), place)
    if unknown := [name for name in data if canonical(name) not in places]:
        advice = "" if len(unknown) > len(data) - 2 else _SHARED
        raise UserError(
            f"the model does not know the classes {', '.join(unknown)} of the data; it has "
            f"{', '.join(model)}{advice}"
        )
    found = [places[canonical(name)] for name in data]
    if len(set(found)) < len(found):
        twice = [name for name, place in zip(data, found, strict=True) if found.count(place) > 1]
        raise UserError(f"the data's classes {', '.join(twice)} are one class of the model")
    return found


def shared_classes(data: Sequence[str], model: Sequence[str]) -> tuple[list[int], list[int]]:
    """The classes that data and model both have, by name, in the model's order.

    Args:
        data: Names in the order of the labels.
        model: Names in the order of the logits.

    Returns:
        Indices into `data` and into `model`, one of each for every shared class.

    Raises:
        UserError: Fewer than two are shared, or two of the data are the same one.
    """
    ours = {canonical(name) for name in model}
    known = [place for place, name in enumerate(data) if canonical(name) in ours]
    if len(known) < 2:
        raise UserError(
            f"data and model share {len(known)} class(es); expected at least 2. The data have "
            f"{', '.join(data)}, the model {', '.join(model)}"
        )
    pairs = sorted(zip(match_classes([data[i] for i in known], model), known, strict=True))
    return [place for _, place in pairs], [place for place, _ in pairs]


def same_classes(data: Sequence[str], model: Sequence[str]) -> list[int] | None:
    """As `match_classes` where both have the same classes, in whatever order; None where not."""
    if len(data) != len(model):
        return None
    try:
        return match_classes(data, model)
    except UserError:
        return None


def describe_match(data: Sequence[str], model: Sequence[str], places: Sequence[int]) -> str:
    """The match in one line; "" where names and order are the same."""
    if tuple(data) == tuple(model):
        return ""
    pairs = (f"{name} -> {model[place]}" for name, place in zip(data, places, strict=True))
    return f"classes by name: {', '.join(pairs)}"
