"""Opens a file of tensors: a PyTorch pickle, safetensors or npz, told apart by their content."""

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from mmadfer_jax.errors import UserError
from mmadfer_jax.files import whole
from mmadfer_jax.weights.pickles import damaged, import_torch, odd_tensors, read_pickle

# The entry of our own files, and of what we export, that says what is in them (JSON).
OWN_FORMAT = "mmadfer_jax"
OWN_VERSION = 3

# What a directory of weights may hold, the best first.
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz")
_PART = re.compile(r"-\d{5}-of-(\d{5})\.\w+$")  # of a sharded model of Hugging Face
_LONGEST_HEADER = 100_000_000  # bytes that the safetensors format allows


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """The tensors of a file by the file's own names.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        tensors: In the file's axes and number types, bfloat16 and float16 included.
        container: The entry of a pickle in which they lay ("model", "state_dict"), or None. Of
            weights and their running mean (`ema`) beside them it is the weights.
        metadata: The text entries of a safetensors file, or of a pickle beside its tensors.
    """

    path: Path
    sha256: str
    tensors: dict[str, np.ndarray]
    container: str | None = None
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def own(self) -> dict[str, Any] | None:
        """What a file of this project says of itself, None for any other.

        Raises:
            UserError: Where it cannot be read.
        """
        if OWN_FORMAT not in self.metadata:
            return None
        try:
            own = json.loads(self.metadata[OWN_FORMAT])
            version = own["format"]
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{self.path}: its entry {OWN_FORMAT!r} is broken") from None
        if version != OWN_VERSION:
            raise UserError(
                f"{self.path} has format {version}; this version reads format {OWN_VERSION}"
            )
        return own


def read_tensors(path: str | Path, sha256: str | None = None) -> TensorFile:
    """Opens a file of tensors; its name says nothing about its format.

    torch is imported for a PyTorch pickle alone, and opens it with `weights_only`.

    Args:
        path: The file.
        sha256: What the file's SHA-256 has to be; any, where None.

    Raises:
        UserError: For a file that is missing, of another format, damaged, not the pinned one, one
            part of several, or a pickle that names anything but tensors and known harmless classes;
            for a directory, saying which file in it to name; and for tensors that are no arrays of
            numbers, or empty, all of them named.
    """
    path = Path(path)
    _check_is_whole_file(path)
    found = file_sha256(path)
    if sha256 is not None and sha256.lower() != found:
        raise UserError(
            f"{path} has SHA-256 {found}; expected {sha256.lower()}. It is another file"
        )
    file = _read(path, found)
    if not file.tensors:
        raise UserError(f"{path} holds no tensors")
    if empty := sorted(name for name, x in file.tensors.items() if not x.size):
        raise UserError(
            f"{path}: {len(empty)} tensors without elements: {', '.join(empty)}. Where DeepSpeed "
            "or FSDP split them over several files, join those first (zero_to_fp32.py)"
        )
    return file


def _check_is_whole_file(path: Path) -> None:
    """Refuses what is no file, and what is only a part of a model."""
    folder = path if path.is_dir() else path.parent
    joined = (
        f"transformers' AutoModel.from_pretrained({str(folder)!r}).save_pretrained(NEW, "
        "max_shard_size='100GB') makes one file of them: NEW/model.safetensors"
    )
    if path.is_dir():
        files = sorted(
            (p for p in path.iterdir() if p.suffix in _ENDINGS and p.is_file()),
            key=lambda p: (bool(_PART.search(p.name)), _ENDINGS.index(p.suffix), p.name),
        )
        if not files:
            raise UserError(f"{path} is a directory without weights; name a file of weights")
        if not _PART.search(files[0].name):
            names = ", ".join(map(str, files[:6]))
            raise UserError(f"{path} is a directory; name the file of weights in it: {names}")
        path = files[0]
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if path.name.endswith(".index.json"):
        raise UserError(f"{path} lists the parts of a sharded model; {joined}")
    part = _PART.search(path.name)
    if part and int(part[1]) > 1:
        raise UserError(f"{path} is one of {int(part[1])} parts of a sharded model; {joined}")


def _read(path: Path, sha256: str) -> TensorFile:
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return _read_safetensors(path, sha256)
    if start[:2] == b"PK":
        names = _zip_names(path)
        if any(name.rsplit("/", 1)[-1] == "data.pkl" for name in names):
            return TensorFile(path, sha256, *read_pickle(path))
        if names and all(name.endswith(".npy") for name in names):
            return TensorFile(path, sha256, _read_npz(path))
    elif start[:1] == b"\x80":
        return TensorFile(path, sha256, *read_pickle(path))
    raise UserError(
        f"{path} is neither a PyTorch pickle (.pth, .pt, .bin) nor safetensors nor npz; "
        f"it starts with {start[:8]!r}" + (" (empty file)" if not start else "")
    )


def write_safetensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], own: Mapping[str, Any]
) -> None:
    """Writes float32 tensors, and beside them what they are; the file appears when complete.

    Args:
        path: Must end in ".safetensors", so that other programs know it.
        tensors: By name.
        own: What `TensorFile.own` gives back; the format's version is added.
    """
    text = json.dumps({"format": OWN_VERSION, **own}, ensure_ascii=False, allow_nan=False)
    content = {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in tensors.items()}
    with whole(path) as unfinished:
        safetensors.numpy.save_file(content, unfinished, {OWN_FORMAT: text})


def write_pickle(
    path: str | Path, tensors: Mapping[str, np.ndarray], own: Mapping[str, Any]
) -> None:
    """Writes `{"state_dict": tensors}` for PyTorch, and beside it what they are."""
    torch = import_torch()
    text = json.dumps({"format": OWN_VERSION, **own}, ensure_ascii=False, allow_nan=False)
    content = {name: torch.from_numpy(np.array(x, np.float32)) for name, x in tensors.items()}
    with whole(path) as unfinished:
        torch.save({"state_dict": content, OWN_FORMAT: text}, unfinished)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise damaged(path, "archive (PyTorch or npz)", error) from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    tensors = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                if name in tensors:
                    raise ValueError(f"two arrays are called {name}")
                # numpy has no name for bfloat16 and saves it as two raw bytes.
                tensors[name] = array.view(ml_dtypes.bfloat16) if array.dtype == "V2" else array
    except Exception as error:  # of any type: the bytes may be anything
        if "Object arrays" in str(error):
            raise UserError(f"{path} holds Python objects beside arrays; refused") from None
        raise damaged(path, "npz file", error) from None
    return tensors


def _read_safetensors(path: Path, sha256: str) -> TensorFile:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = list(file.keys())
            types = {name: file.get_slice(name).get_dtype() for name in names}
            # Numbers of 4 to 8 bits, which mean nothing without their scale; NumPy has no such.
            odd = [f"{n} (quantised, {t})" for n, t in types.items() if re.match(r"F(4$|[68]_)", t)]
            tensors = {} if odd else {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except Exception as error:  # of any type: the bytes may be anything
        raise damaged(path, "safetensors file", error) from None
    if odd:
        raise odd_tensors(path, odd)
    return TensorFile(path, sha256, tensors, metadata=metadata)
