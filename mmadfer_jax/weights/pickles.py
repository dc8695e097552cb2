"""Opens PyTorch's pickles without running anything that is in them."""

import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from mmadfer_jax.errors import UserError
from mmadfer_jax.weights.layout import the_weights

# Where training programs keep the tensors among other things; the first of them is taken.
_CONTAINERS = ("state_dict", "model", "module", "model_state_dict")
_DEEPEST = 3  # entries of entries of entries are looked at

# Classes of training programs that lie in published files beside the tensors. They are not
# imported: an empty stand-in takes their place. Any other name in a pickle refuses the file.
_HARMLESS = (
    "RecorderMeter",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtypes.Float32DType",
    "numpy.dtypes.Float64DType",
    "numpy.dtypes.Int64DType",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)

_SAVE_AGAIN = (
    "A file of weights holds tensors; get it from its authors, or save it again as "
    "torch.save({'model': state_dict}, ...)"
)


def damaged(path: Path, what: str, error: BaseException) -> UserError:
    """The error for a file that cannot be read to its end."""
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{path} is a damaged or truncated {what} of {path.stat().st_size} bytes ({first_line}); "
        "download it again"
    )


def odd_tensors(path: Path, odd: list[str]) -> UserError:
    """The error for tensors that are no plain arrays of numbers, named with what they are."""
    return UserError(
        f"{path} holds tensors that are no arrays of numbers: {', '.join(odd)}. Take the file it "
        "was made from, or save each as tensor.to_dense() and tensor.dequantize() give it"
    )


def import_torch() -> ModuleType:
    """torch, imported where a pickle is read or written: other formats need not pay for it.

    Raises:
        UserError: Where it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError(
            "files of PyTorch (.pth, .pt, .bin) need torch, which is not installed: "
            "`pip install torch==2.13.0`, or use .safetensors files"
        ) from None
    return torch


class _Ignored:
    """Stands for an object of a training program; keeps nothing."""

    def __new__(cls, *args: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _globals(path: Path) -> set[str]:
    """Every name that a PyTorch pickle would import, found without running any of it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(n for n in archive.namelist() if n.rsplit("/", 1)[-1] == "data.pkl")
            with archive.open(member) as file:
                return _globals_of_pickle(file)
    with path.open("rb") as file:  # magic number, protocol, system, object, storage keys
        found = _globals_of_pickle(file)
        for _ in range(4):
            if file.read(1) != b"\x80":
                break  # a plain pickle, not torch's: refused later
            file.seek(-1, 1)
            found |= _globals_of_pickle(file)
        return found


def _globals_of_pickle(file: BinaryIO) -> set[str]:
    found, strings = set(), []
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            found.add(argument.replace(" ", "."))
        elif code.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return found


def read_pickle(path: Path) -> tuple[dict[str, np.ndarray], str | None, dict[str, str]]:
    """Opens a PyTorch pickle of tensors, running none of it.

    Returns:
        The tensors by name, the entry they lay in ("model", "state_dict", "checkpoint.model") or
        None, and the texts that lay at the top.

    Raises:
        UserError: For a damaged file, one that names anything but tensors and known harmless
            classes, one with several sets of tensors where nothing tells which is meant, and for
            tensors that are no arrays of numbers.
    """
    try:
        found = _globals(path)
    except Exception as error:  # of any type: the bytes may be anything
        raise damaged(path, "pickle", error) from None
    known = {name for name in found if name in _HARMLESS or name.split(".")[-1] in _HARMLESS}
    foreign = sorted(
        name
        for name in found - known
        if not name.startswith(("torch.", "collections.", "_codecs.encode"))
    )
    if foreign:
        raise UserError(
            f"{path} is a pickle that would import {', '.join(foreign)}; refused, nothing was run. "
            + _SAVE_AGAIN
        )
    torch = import_torch()
    stand_ins = [(_Ignored, name) for name in known]
    try:
        with torch.serialization.safe_globals(stand_ins), path.open("rb") as file:
            # A name that ends in ".safetensors" would be believed, an open file has none.
            mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"
            source = path if mapped else file
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:  # of torch, with advice that we do not give
        name = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {name[1]}" if name else str(error).split("error: ")[-1].strip()
        raise UserError(
            f"{path} is a pickle of more than tensors; refused: {reason.splitlines()[0]}. "
            + _SAVE_AGAIN
        ) from None
    except Exception as error:  # of any type: the bytes may be anything
        raise damaged(path, "PyTorch file", error) from None
    return _tensors_of(path, content)


def _tensors_of(
    path: Path, content: Any
) -> tuple[dict[str, np.ndarray], str | None, dict[str, str]]:
    texts, container = {}, None
    if isinstance(content, dict):
        texts = {str(name): x for name, x in content.items() if isinstance(x, str)}
        content, container = _state_dict(path, content)
    expected = f"expected a dict of tensors, bare or under one of {_CONTAINERS}"
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds a {type(content).__name__}; {expected}")
    tensor = import_torch().Tensor
    strangers = [
        str(name)
        for name, x in content.items()
        if not (isinstance(name, str) and isinstance(x, tensor))
    ]
    if strangers:
        raise UserError(
            f"{path}: entries that are no tensors: {', '.join(strangers[:20])}; {expected}"
        )
    arrays = {name: _array(x) for name, x in content.items()}
    if odd := [f"{name} ({x})" for name, x in arrays.items() if isinstance(x, str)]:
        raise odd_tensors(path, odd)
    return arrays, container, texts


def _state_dict(path: Path, content: dict) -> tuple[dict, str | None]:
    """The tensors among all that a training program saved, and the entry they lie in."""
    torch = import_torch()
    levels: list[dict[str, dict]] = [{"": content}]
    for _ in range(_DEEPEST):
        levels.append(
            {
                f"{above}.{name}".lstrip("."): x
                for above, entry in levels[-1].items()
                for name, x in entry.items()
                if isinstance(name, str) and isinstance(x, dict)
            }
        )
    bare, *nested = (
        {
            name: entry
            for name, entry in level.items()
            if any(isinstance(x, torch.Tensor) and x.ndim for x in entry.values())
        }
        for level in levels
    )
    usual = {name: nested[0][name] for name in _CONTAINERS if name in nested[0]}
    sets = next(filter(None, (usual, bare, *nested)), levels[0])
    by_name = [n for c in _CONTAINERS for n in sets if n.split(".")[-1] == c]
    name = by_name[0] if by_name else the_weights(sets)
    if name is None:
        raise UserError(
            f"{path} holds {len(sets)} sets of tensors, under {', '.join(list(sets)[:6])}; save "
            "the one you want alone: torch.save({'model': torch.load(FILE)[NAME]}, ...)"
        )
    return sets[name], name or None


def _array(tensor: Any) -> np.ndarray | str:
    """The tensor's numbers, or in words why it has none that mean anything alone."""
    torch = import_torch()
    if tensor.is_meta:
        return "without values, on the meta device"
    if tensor.layout is not torch.strided:
        return f"sparse, {tensor.layout}"
    if tensor.is_quantized or (tensor.is_floating_point() and tensor.itemsize == 1):
        return f"quantised, {tensor.dtype}"
    known = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has none
    try:
        return known.detach().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError):
        return f"{tensor.dtype}"
