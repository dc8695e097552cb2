"""Foreign tensor names against ours, and the strict accounting every load goes through."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from mmadfer_jax.errors import UserError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One line of a layout: a pattern of our parameter path and the foreign names of its parts."""

    path: re.Pattern
    names: tuple[str, ...]  # templates of `Match.expand`

    def foreign_names(self, path: str) -> tuple[str, ...] | None:
        """The foreign names of `path`, or None where the rule does not speak of it."""
        match = self.path.fullmatch(path)
        return tuple(match.expand(name) for name in self.names) if match else None


def rules(table: Iterable[tuple[str, str | tuple[str, ...]]]) -> tuple[Rule, ...]:
    """Compiles a table of (pattern, template), or (pattern, templates) where we join tensors."""
    return tuple(
        Rule(re.compile(pattern), (names,) if isinstance(names, str) else names)
        for pattern, names in table
    )


def foreign_names(layout: tuple[Rule, ...], paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Maps each of our paths to its foreign names by the first rule that matches.

    Raises:
      KeyError: for a path without a rule: the layout is incomplete.
    """
    names = {}
    for path in paths:
        found = next((n for rule in layout if (n := rule.foreign_names(path)) is not None), None)
        if found is None:
            raise KeyError(f"no rule of the layout speaks of parameter {path!r}")
        names[path] = found
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


@dataclasses.dataclass(frozen=True)
class Axes:
    """How a foreign format lays out the tensors that make up one of our parameters."""

    join: Callable[[str, list[np.ndarray]], np.ndarray]  # (path, its tensors) -> our array
    shape: Callable[[str, Shape, int], Shape]  # (path, our shape, tensors) -> shape of each


def _join_torch(path: str, parts: list[np.ndarray]) -> np.ndarray:
    return to_our_axes(path, parts[0] if len(parts) == 1 else np.concatenate(parts))


def _torch_shape(path: str, shape: Shape, parts: int) -> Shape:
    if path.endswith(".kernel"):
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    return (shape[0] // parts, *shape[1:])


TORCH = Axes(_join_torch, _torch_shape)
OURS = Axes(lambda path, parts: parts[0], lambda path, shape, parts: shape)


def flax_attention(heads: int) -> Axes:
    """The axes of the original JAX ViT: ours, but with the heads as an axis of their own."""

    def join(path: str, parts: list[np.ndarray]) -> np.ndarray:
        if path.endswith("qkv.kernel"):
            return np.concatenate([p.reshape(p.shape[0], -1) for p in parts], axis=1)
        if path.endswith("qkv.bias"):
            return np.concatenate([p.reshape(-1) for p in parts])
        if path.endswith("attn.proj.kernel"):
            return parts[0].reshape(-1, parts[0].shape[-1])
        return parts[0]

    def shape(path: str, shape: Shape, parts: int) -> Shape:
        if re.search(r"qkv\.(kernel|bias)$", path):
            return (*shape[:-1], heads, shape[-1] // parts // heads)
        if path.endswith("attn.proj.kernel"):
            return (heads, shape[0] // heads, shape[1])
        return shape

    return Axes(join, shape)


def take(
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, Shape],
    axes: Axes,
    *,
    leftovers: str,
    source: str,
) -> dict[str, np.ndarray]:
    """Takes every one of our parameters out of a foreign file, with nothing left unexplained.

    Args:
      tensors: the file, by its own names and in its own axes.
      names: our path -> foreign names (`foreign_names`).
      shapes: our path -> shape, in our axes.
      axes: the file's axes.
      leftovers: pattern of foreign names that are known and not needed.
      source: what the file is called in the error.

    Returns:
      Our path -> array, in our axes, float32.

    Raises:
      UserError: one, that names every missing, unexpected and mis-shaped tensor.
    """
    used = {name for parts in names.values() for name in parts}
    missing = sorted(used - set(tensors))
    unexpected = sorted(n for n in set(tensors) - used if not re.fullmatch(leftovers, n))
    taken, misshaped = {}, []
    for path, parts in names.items():
        found = [tensors[name] for name in parts if name in tensors]
        expected = axes.shape(path, tuple(shapes[path]), len(parts))
        wrong = [
            f"{name} {tuple(tensors[name].shape)}, expected {expected}"
            for name in parts
            if name in tensors and tuple(tensors[name].shape) != expected
        ]
        misshaped += wrong
        if not wrong and len(found) == len(parts):
            taken[path] = axes.join(path, [np.asarray(x, dtype=np.float32) for x in found])
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


def square_side(tokens: int) -> int | None:
    """The side of a square of `tokens` patches, None where they make no square."""
    side = math.isqrt(max(tokens, 0))
    return side if side > 0 and side * side == tokens else None
