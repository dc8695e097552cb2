"""Files on a disk, or behind any URL that fsspec knows: `gs://`, `s3://`, `https://` and others."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from upath import UPath

from mmadfer_jax.errors import UserError

_ATTEMPTS = 5
_FIRST_PAUSE = 0.5  # seconds; doubled after every further failure
_AT_ONCE = 8  # files
# What another attempt cannot mend.
_FINAL = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, UserError)

T = TypeVar("T")


def place(path: str | os.PathLike | UPath) -> Path | UPath:
    """A file or folder: a `Path` on the disk, a `UPath`, used the same way, for a URL.

    Raises:
        UserError: No package here can open such URLs.
    """
    if isinstance(path, UPath) or "://" not in os.fspath(path):
        return path if isinstance(path, Path | UPath) else Path(path)
    protocol = str(path).split("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    return UPath(path)


def is_remote(path: Path | UPath) -> bool:
    """Whether it is a URL."""
    return not isinstance(path, Path)


def attempt(what: object, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Calls a function that uses the network, again where it fails, after growing pauses.

    Args:
        what: Named in the error.
        function: Called with the rest.
        arguments: For it.
        options: For it.

    Raises:
        UserError: It failed every time.
        OSError: What another attempt cannot mend, such as a file that is not there.
    """
    for number in range(_ATTEMPTS):
        try:
            return function(*arguments, **options)
        except _FINAL as error:
            if not _is_passing(error):
                raise
            last = error
        except Exception as error:  # each file system raises its own library's errors
            last = error
        if number < _ATTEMPTS - 1:
            time.sleep(_FIRST_PAUSE * 2**number)
    raise UserError(
        f"{what}: failed {_ATTEMPTS} times, last with {type(last).__name__}: {last}; look at the "
        "network and the access rights, then give the same command again"
    ) from last


def _is_passing(error: Exception) -> bool:
    """Whether a web server failed, which fsspec tells as a file that is not there."""
    cause = error.__cause__
    if isinstance(cause, _FINAL) or not isinstance(error, FileNotFoundError):
        return False
    if (status := getattr(cause, "status", None)) is not None:
        return status >= 500
    return isinstance(cause, OSError) or type(cause).__module__.startswith("aiohttp.")


def read_range(path: UPath, start: int, length: int) -> bytes:
    """Reads a part of a file behind a URL; fewer bytes only where it ends early.

    Raises:
        UserError: It cannot be read, or the server sends something else than the part.
    """

    def read() -> bytes:
        data = path.fs.cat_file(path.path, start=start, end=start + length)
        if len(data) > length:
            raise UserError(
                f"{path}: the server ignores byte ranges, it sent {len(data)} bytes for {length}; "
                "use one that knows ranges, or copy the dataset to the disk"
            )
        if len(data) < length and start + length <= path.fs.size(path.path):
            raise OSError(f"{len(data)} of {length} bytes came")
        return data

    return attempt(path, read)


def read_bytes(path: Path | UPath) -> bytes:
    """A whole file; raises OSError where it is not there."""
    if isinstance(path, Path):
        return path.read_bytes()
    return attempt(path, path.fs.cat_file, path.path)


def read_all(paths: Sequence[Path | UPath]) -> Iterator[bytes]:
    """Whole files, in this order; from behind URLs several are fetched at once.

    Raises:
        OSError: One is not there.
        UserError: One could not be fetched.
    """
    if not any(map(is_remote, paths)):
        yield from map(read_bytes, paths)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(read_bytes, paths)


def read_text(path: Path | UPath) -> str:
    """A text file in UTF-8; raises OSError where it is not there."""
    return read_bytes(path).decode()


def is_file(path: Path | UPath) -> bool:
    """Whether there is such a file."""
    if isinstance(path, Path):
        return path.is_file()
    try:
        return attempt(path, path.fs.info, path.path)["type"] != "directory"
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_folder(path: Path | UPath) -> bool:
    """Whether there is such a folder."""
    return path.is_dir() if isinstance(path, Path) else attempt(path, path.fs.isdir, path.path)


def size(path: Path | UPath) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        if isinstance(path, Path):
            return path.stat().st_size if path.is_file() else None
        found = attempt(path, path.fs.info, path.path)
        return None if found["type"] == "directory" else found["size"]
    except (FileNotFoundError, NotADirectoryError):
        return None


def names(folder: Path | UPath) -> list[str]:
    """Names of what a folder holds, sorted; none where it does not exist."""
    try:
        return sorted(attempt(folder, lambda: [path.name for path in folder.iterdir()]))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def local_copy(path: Path | UPath) -> Iterator[Path]:
    """The file itself, or a copy on the disk of one behind a URL, deleted afterwards.

    Raises:
        UserError: It is not there or cannot be fetched.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mmadfer_") as folder:
        copy = Path(folder, path.name)
        try:
            attempt(path, path.fs.get_file, path.path, str(copy))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        yield copy


def upload(file: Path, path: UPath) -> None:
    """Puts a file of the disk behind a URL; object stores show it whole or not at all."""
    if hasattr(path.fs, "makedirs"):
        attempt(path, path.fs.makedirs, path.parent.path, exist_ok=True)
    attempt(path, path.fs.put_file, str(file), path.path)


def staging(path: UPath) -> Path:
    """Where a file is written on the disk before it is uploaded; of this process alone."""
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"mmadfer_{name}_{os.getpid()}.tmp")


def remove(path: Path | UPath) -> None:
    """Deletes a file or a folder with all it holds, if it is there."""
    if isinstance(path, Path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            attempt(path, path.fs.rm, path.path, recursive=True)
