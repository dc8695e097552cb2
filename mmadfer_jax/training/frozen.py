"""Frozen weights of a run: in its directory once, by content, not in each checkpoint."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.weights.files import read_tensors, write_safetensors

_FOLDER = "frozen"


def weights_sha256(params: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and float32 values, in any order of the dict; "" of none."""
    if not params:
        return ""
    digest = hashlib.sha256()
    for path in sorted(params):
        array = np.ascontiguousarray(params[path], dtype=np.float32)
        digest.update(f"{path}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_frozen(workdir: Path | UPath, params: Mapping[str, np.ndarray], sha256: str) -> None:
    """Puts frozen weights into a run's directory, in float32, unless they are there.

    Where a run beside this one has the same, its file is shared by a hard link, which takes no room
    and stays whole when either run is moved or deleted.

    Args:
        workdir: The run's.
        params: Path -> array; none where all is trained.
        sha256: Their `weights_sha256`.

    Raises:
        OSError: The disk refused; nothing is left behind.
    """
    if not params:
        return
    path = _path(workdir, sha256)
    if files.is_file(path) and _holds(path, sha256):
        return
    files.make_folder(path.parent)
    files.sweep(path.parent)
    files.remove(path)
    if isinstance(path, Path):
        for other in sorted(workdir.absolute().parent.glob(f"*/{_FOLDER}/{path.name}")):
            with contextlib.suppress(OSError):
                path.hardlink_to(other)
                if _holds(path, sha256):
                    return
                path.unlink()
    write_safetensors(path, params, {"content": "frozen"})


def read_frozen(workdir: Path | UPath, sha256: str) -> dict[str, np.ndarray]:
    """Reads the frozen weights of a run back.

    Raises:
        UserError: They are not there, or not what they were.
    """
    if not sha256:
        return {}
    path = _path(workdir, sha256)
    if not files.is_file(path):
        raise UserError(
            f"{path} is missing: the frozen weights of the run. Copy the whole run again, or put "
            "the file back from another run of the same encoders"
        )
    with files.local_copy(path) as copy:
        params = read_tensors(copy).tensors
    if weights_sha256(params) != sha256:
        raise UserError(
            f"{path} is damaged: its weights do not have the SHA-256 of its name. Copy it again, "
            "or delete it and put the same file of another run in its place"
        )
    return params


def _holds(path: Path | UPath, sha256: str) -> bool:
    try:
        with files.local_copy(path) as copy:
            return weights_sha256(read_tensors(copy).tensors) == sha256
    except UserError:
        return False


def _path(workdir: Path | UPath, sha256: str) -> Path | UPath:
    return workdir / _FOLDER / f"{sha256}.safetensors"
