"""Opens a file of tensors: a PyTorch pickle, safetensors or npz, told apart by their content."""

import dataclasses
import hashlib
import json
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
from mmadfer_jax.weights.pickles import damaged, import_torch, read_pickle

# The entry of our own files, and of what we export, that says what is in them (JSON).
OWN_FORMAT = "mmadfer_jax"
OWN_VERSION = 2

_LONGEST_HEADER = 100_000_000  # bytes that the safetensors format allows


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """The tensors of a file by the file's own names.

    Attributes:
      path: the file.
      sha256: of its bytes.
      tensors: in the file's axes and number types, bfloat16 and float16 included.
      container: the entry of a pickle in which they lay ("model", "state_dict"), or None.
      metadata: the text entries of a safetensors file, or of a pickle beside its tensors.
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
          UserError: where it cannot be read.
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
      path: the file.
      sha256: what the file's SHA-256 has to be; any, where None.

    Raises:
      UserError: for a file that is missing, of another format, damaged, not the pinned one, or a
        pickle that names anything but tensors and known harmless classes.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    found = file_sha256(path)
    if sha256 is not None and sha256.lower() != found:
        raise UserError(
            f"{path} has SHA-256 {found}; expected {sha256.lower()}. It is another file"
        )
    with path.open("rb") as file:
        start = file.read(16)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEADER:
        return _read_safetensors(path, found)
    if start[:2] == b"PK":
        names = _zip_names(path)
        if any(name.rsplit("/", 1)[-1] == "data.pkl" for name in names):
            return TensorFile(path, found, *read_pickle(path))
        if names and all(name.endswith(".npy") for name in names):
            return TensorFile(path, found, _read_npz(path))
    elif start[:1] == b"\x80":
        return TensorFile(path, found, *read_pickle(path))
    raise UserError(
        f"{path} is neither a PyTorch pickle (.pth, .pt, .bin) nor safetensors nor npz; "
        f"it starts with {start[:8]!r}" + (" (empty file)" if not start else "")
    )


def write_safetensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], own: Mapping[str, Any]
) -> None:
    """Writes float32 tensors, and beside them what they are; the file appears when complete.

    Args:
      path: must end in ".safetensors", so that other programs know it.
      tensors: by name.
      own: what `TensorFile.own` gives back; the format's version is added.
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
                # numpy has no name for bfloat16 and saves it as two raw bytes.
                tensors[name] = array.view(ml_dtypes.bfloat16) if array.dtype == "V2" else array
    except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
        if "pickle" in str(error).lower():
            raise UserError(f"{path} holds Python objects beside arrays; refused") from None
        raise damaged(path, "npz file", error) from None
    return tensors


def _read_safetensors(path: Path, sha256: str) -> TensorFile:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise damaged(path, "safetensors file", error) from None
    return TensorFile(path, sha256, tensors, metadata=metadata)
