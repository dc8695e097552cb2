"""Foreign tensor names against ours, and the strict accounting every load goes through."""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from mmadfer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of a layout: a pattern of our parameter path and the foreign name it comes from."""

    path: re.Pattern
    name: str  # template of `Match.expand`

    def foreign_name(self, path: str) -> str | None:
        """The foreign name of `path`, or None where the rule does not speak of it."""
        match = self.path.fullmatch(path)
        return match.expand(self.name) if match else None


def rules(table: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    """Compiles a table of (pattern, template)."""
    return tuple(Rule(re.compile(pattern), name) for pattern, name in table)


def foreign_names(layout: tuple[Rule, ...], paths: Iterable[str]) -> dict[str, str]:
    """Maps each of our paths to its foreign name by the first rule that matches.

    Raises:
      KeyError: for a path without a rule: the layout is incomplete.
    """
    names = {}
    for path in paths:
        name = next((n for rule in layout if (n := rule.foreign_name(path)) is not None), None)
        if name is None:
            raise KeyError(f"no rule of the layout speaks of parameter {path!r}")
        names[path] = name
    return names


def to_our_axes(path: str, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's axes to Flax's: Linear [out, in] -> [in, out], Conv OIHW -> HWIO."""
    if not path.endswith(".kernel"):
        return tensor
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def to_torch_axes(path: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_our_axes`."""
    if not path.endswith(".kernel"):
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def take(
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    leftovers: str,
    source: str,
) -> dict[str, np.ndarray]:
    """Takes every one of our parameters out of a foreign file, with nothing left unexplained.

    Args:
      tensors: the file, by its own names and in PyTorch's axes.
      names: our path -> foreign name (`foreign_names`).
      shapes: our path -> shape, in our axes.
      leftovers: pattern of foreign names that are known and not needed.
      source: what the file is called in the error.

    Returns:
      Our path -> array, in our axes, float32.

    Raises:
      UserError: one, that names every missing, unexpected and mis-shaped tensor.
    """
    used = set(names.values())
    missing = sorted(used - set(tensors))
    unexpected = sorted(n for n in set(tensors) - used if not re.fullmatch(leftovers, n))
    taken, misshaped = {}, []
    for path, name in names.items():
        if name not in tensors:
            continue
        array = to_our_axes(path, np.asarray(tensors[name], dtype=np.float32))
        if array.shape != tuple(shapes[path]):
            expected = to_torch_axes(path, np.empty(shapes[path], np.bool_)).shape
            misshaped.append(f"{name} {tuple(tensors[name].shape)}, expected {expected}")
        taken[path] = array
    problems = [
        f"{len(found)} {what}: {'; '.join(found)}"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        )
        if found
    ]
    if problems:
        raise UserError(f"{source} does not fit the model. Tensors " + ". ".join(problems))
    return taken
