"""Foreign tensor names against ours, and the strict accounting every load goes through."""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping

import ml_dtypes
import numpy as np

from mmadfer_jax.errors import UserError

Shape = tuple[int, ...]

# What PyTorch puts into names where it wraps a module: DataParallel and DDP, torch.compile, FSDP,
# activation checkpointing, and Lightning around the last ones.
_WRAPPER = re.compile(
    r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"
    r"|_forward_module)\."
)
# What programs call second sets of weights: running means of the first, the two of distillation,
# and what an optimizer keeps of each tensor.
_COPY = re.compile(
    r"(?:^|[./_])(?:ema|swa|averaged|shadow|momentum|teacher|student|target|opt|optim|optimizer)"
    r"(?:[./_]|$)"
)


@dataclasses.dataclass(frozen=True)
class PlainNames:
    """Tensors by the names that their network alone would give them.

    Attributes:
        tensors: By plain name.
        removed: What was taken out of the names, for messages.
        found: Whether the network that was looked for is among them.
    """

    tensors: dict[str, np.ndarray]
    removed: tuple[str, ...]
    found: bool


def plain_names(tensors: Mapping[str, np.ndarray], root: str, source: str) -> PlainNames:
    """Takes out of names what training programs put around those of a network.

    That is the wrappers of PyTorch (`module.`, `_orig_mod.`), wherever they stand, and one prefix
    of any kind before the network (Lightning's `model.`). Second sets of weights (`ema.`) beside
    the network are left out; where there is no other, they are the network. A tensor that does not
    stand behind the prefix, or would get another one's name, keeps its own.

    Args:
        tensors: By a file's names.
        root: Pattern of how names of the network begin.
        source: What the file is called in the error.

    Raises:
        UserError: Where the file holds several such networks and nothing tells which is meant.
    """
    plain: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        short = _WRAPPER.sub("", name)
        taken = short in plain or (short != name and short in tensors)
        plain[name if taken else short] = tensor
    removed = {w for name in tensors if name not in plain for w in _WRAPPER.findall(name)}
    before = re.compile(rf"((?:[^./]+[./])*?)(?:{root})")
    prefixes = sorted({match[1] for name in plain if (match := before.match(name))})
    if not prefixes:
        return PlainNames(plain, tuple(sorted(removed)), False)
    prefix = "" if "" in prefixes else the_weights(prefixes)
    if prefix is None:
        raise UserError(
            f"{source} holds {len(prefixes)} networks or copies of one: names begin with "
            f"{', '.join(prefixes)}. Save one of them alone: {{name: x for name, x in "
            f"tensors.items() if name.startswith({prefixes[-1]!r})}}"
        )
    copies = tuple(p for p in prefixes if p != prefix and _COPY.search(p))
    found = {}
    for name, tensor in plain.items():
        short = name.removeprefix(prefix)
        if not (name.startswith(copies) or _COPY.search(re.split("[./]", short)[0])):
            found[name if short != name and short in plain else short] = tensor
    return PlainNames(found, (*sorted(removed), *filter(None, [prefix])), True)


def the_weights(names: Collection[str]) -> str | None:
    """Which of several sets of weights is meant, None where their names do not tell."""
    first = [name for name in names if not _COPY.search(name)] or list(names)
    return first[0] if len(first) == 1 else None


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
        KeyError: For a path without a rule: the layout is incomplete.
    """
    names = {}
    for path in paths:
        found = next((n for rule in layout if (n := rule.foreign_names(path)) is not None), None)
        if found is None:
            raise KeyError(f"no rule of the layout speaks of parameter {path!r}")
        names[path] = found
    return names


def to_our_axes(path: str, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's axes to ours: Linear [out, in] -> [in, out], Conv OIHW -> HWIO, qkv apart."""
    if ".qkv." in path:
        apart = tensor.reshape(3, -1, *tensor.shape[1:])  # [3, out] or [3, out, in]
        return apart.swapaxes(1, 2) if tensor.ndim == 2 else apart
    if not path.endswith(".kernel"):
        return tensor
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def to_torch_axes(path: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_our_axes`."""
    if ".qkv." in path:
        apart = array.swapaxes(1, 2) if array.ndim == 3 else array
        return apart.reshape(-1, *apart.shape[2:])
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
    if ".qkv." in path:
        shape = (3 * shape[-1], *shape[1:-1])
    elif path.endswith(".kernel"):
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
    return (shape[0] // parts, *shape[1:])


TORCH = Axes(_join_torch, _torch_shape)
OURS = Axes(lambda path, parts: parts[0], lambda path, shape, parts: shape)


def flax_attention(heads: int) -> Axes:
    """The axes of the original JAX ViT: ours, but with the heads as an axis of their own."""

    def join(path: str, parts: list[np.ndarray]) -> np.ndarray:
        if ".qkv." in path:
            return np.stack([p.reshape(*p.shape[:-2], -1) for p in parts])
        if path.endswith("attn.proj.kernel"):
            return parts[0].reshape(-1, parts[0].shape[-1])
        return parts[0]

    def shape(path: str, shape: Shape, parts: int) -> Shape:
        if ".qkv." in path:
            return (*shape[1:-1], heads, shape[-1] // heads)
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
        tensors: The file, by its own names and in its own axes.
        names: Our path -> foreign names (`foreign_names`).
        shapes: Our path -> shape, in our axes.
        axes: The file's axes.
        leftovers: Pattern of foreign names that are known and not needed.
        source: What the file is called in the error.

    Returns:
        Our path -> array, in our axes, float32.

    Raises:
        UserError: One, that names every tensor that is missing, unexpected, of another shape, of
            another type than floats, or not finite.
    """
    used = {name for parts in names.values() for name in parts}
    problems: dict[str, list[str]] = {
        "missing": sorted(used - set(tensors)),
        "unexpected": sorted(n for n in set(tensors) - used if not re.fullmatch(leftovers, n)),
        **{what: [] for what in (_MISSHAPED, _MISTYPED, _INFINITE)},
    }
    taken = {}
    for path, parts in names.items():
        expected = axes.shape(path, tuple(shapes[path]), len(parts))
        found = []
        for name in parts:
            if name in tensors:
                array, what, fault = _floats(tensors[name], expected)
                if array is not None:
                    found.append(array)
                else:
                    problems[what].append(f"{name} {fault}")
        if len(found) == len(parts):
            taken[path] = axes.join(path, found)
    texts = [f"{len(bad)} {what}: {'; '.join(bad)}" for what, bad in problems.items() if bad]
    if texts:
        raise UserError(f"{source} does not fit the model. Tensors " + ". ".join(texts))
    return taken


_MISSHAPED = "of another shape"
_MISTYPED = "of another type than floats (of a quantised file take the one it was made from)"
_INFINITE = "with NaN or infinite numbers (take an earlier checkpoint)"


def _floats(tensor: np.ndarray, expected: Shape) -> tuple[np.ndarray | None, str, str]:
    """The tensor in float32; or None, the kind of problem, and what it is."""
    if tuple(tensor.shape) != expected:
        return None, _MISSHAPED, f"{tuple(tensor.shape)}, expected {expected}"
    if not _is_float(tensor.dtype):
        return None, _MISTYPED, str(tensor.dtype)
    with np.errstate(over="ignore"):  # a float64 too large is infinite, and found so below
        array = np.asarray(tensor, dtype=np.float32)
    if not (finite := np.isfinite(array)).all():
        return None, _INFINITE, f"({finite.size - finite.sum()} of {finite.size})"
    return array, "", ""


def _is_float(dtype: np.dtype) -> bool:
    """Whether float32 can hold what it means: 8 bits mean nothing without their scale."""
    return dtype == ml_dtypes.bfloat16 or (dtype.kind == "f" and dtype.itemsize > 1)


def square_side(tokens: int) -> int | None:
    """The side of a square of `tokens` patches, None where they make no square."""
    side = math.isqrt(max(tokens, 0))
    return side if side > 0 and side * side == tokens else None
