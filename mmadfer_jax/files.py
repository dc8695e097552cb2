"""Files on a disk, or behind any URL that fsspec knows; written whole or not at all.

The one way of this project to open URLs, to try again, to write, and to keep a folder to one
command. Local paths are `pathlib.Path`, URLs `UPath`, which is used the same way.
"""

import contextlib
import errno
import fcntl
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec
import tenacity
from upath import UPath

from mmadfer_jax.errors import UserError

_ATTEMPTS = 5
_FIRST_PAUSE = 0.5  # seconds; doubled after every further failure
_AT_ONCE = 8  # files
LOCK = ".lock"  # while a command uses a folder
# Only web servers are asked again here: the file systems of buckets do so by themselves.
_ASKED_AGAIN = ("http", "https")
# What another attempt cannot mend, and what is a mistake in a program and no failure of a network.
_FINAL = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, UserError)
_MISTAKES = (TypeError, AttributeError, NameError, LookupError, AssertionError, ImportError)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")

_UMASK = os.umask(0)
os.umask(_UMASK)  # it can only be read by setting it

T = TypeVar("T")


def as_path(path: str | os.PathLike | UPath) -> Path | UPath:
    """A file or folder: a `Path` on the disk, a `UPath` for a URL.

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


def attempt(path: UPath, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Calls a function that uses the network; web servers are asked again after growing pauses.

    Args:
        path: What is asked for.
        function: Called with the rest.
        arguments: For it.
        options: For it.

    Raises:
        UserError: It failed.
        OSError: What another attempt cannot mend, such as a file that is not there.
    """
    tries = _ATTEMPTS if path.protocol in _ASKED_AGAIN else 1
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_exponential(multiplier=_FIRST_PAUSE),
        retry=tenacity.retry_if_exception(_is_passing),
        reraise=True,
    )
    try:
        return again(function, *arguments, **options)
    except Exception as error:
        if not _is_passing(error):
            raise
        raise UserError(
            f"{path}: failed {f'{tries} times, last ' if tries > 1 else ''}with "
            f"{type(error).__name__}: {error}; look at the network and the access rights, then "
            "give the same command again"
        ) from error


def _is_passing(error: BaseException) -> bool:
    """Whether it may be another the next time; each file system raises its own library's errors."""
    if isinstance(error, FileNotFoundError):  # fsspec says so too where a web server failed
        cause = error.__cause__
        if isinstance(cause, _FINAL):
            return False
        if (status := getattr(cause, "status", None)) is not None:
            return status >= 500
        return isinstance(cause, OSError) or type(cause).__module__.startswith("aiohttp.")
    return isinstance(error, Exception) and not isinstance(error, _FINAL + _MISTAKES)


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
        if isinstance(folder, Path):
            return sorted(os.listdir(folder))  # noqa: PTH208  names alone
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


def write(path: str | os.PathLike | UPath, data: bytes | str) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: The disk refused, for instance because it is full; nothing is left behind.
        UserError: A URL cannot be written to.
    """
    with writing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def writing(path: str | os.PathLike | UPath) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name when the block has ended well, and else is deleted.

    Raises:
        As `write`.
    """
    with whole(path) as unfinished:
        file = unfinished.open("wb")
        try:
            yield file
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk refuses what is left a second time
                file.close()
            raise
        file.close()


@contextlib.contextmanager
def whole(path: str | os.PathLike | UPath) -> Iterator[Path]:
    """A name on the disk to write to; what is there becomes `path` when the block has ended well.

    The name is nobody else's. A killed process leaves it behind; `sweep` finds it.

    Raises:
        UserError: The folder is not there, or a URL cannot be written to.
    """
    path = as_path(path)
    with contextlib.ExitStack() as stack:
        if isinstance(path, Path):
            if not path.parent.is_dir():
                raise UserError(f"no such directory: {path.parent}")
            # The dot keeps it from matching the pattern by which TFDS finds shards.
            unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mmadfer_"))
            unfinished = Path(folder, path.name)
        try:
            yield unfinished
            unfinished.chmod(0o666 & ~_UMASK)  # some libraries write files for their owner alone
            _to_disk(unfinished)
            if isinstance(path, Path):
                unfinished.replace(path)
                _to_disk(path.parent)  # the new name itself must survive a power cut
            else:
                upload(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sweep(folder: Path | UPath) -> None:
    """Deletes what killed processes left half-written in a folder of the disk, not below it."""
    if isinstance(folder, Path):
        for name in names(folder):
            if is_temporary(name):
                (folder / name).unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file is called as `whole` calls an unfinished one."""
    return _TEMPORARY.fullmatch(name) is not None


def upload(file: Path, path: UPath) -> None:
    """Puts a file of the disk behind a URL; object stores show it whole or not at all."""
    if hasattr(path.fs, "makedirs"):
        attempt(path, path.fs.makedirs, path.parent.path, exist_ok=True)
    attempt(path, path.fs.put_file, str(file), path.path)


def make_folder(path: Path | UPath) -> None:
    """Makes a folder and those above it, where they are not there; buckets need none."""
    if isinstance(path, Path):
        path.mkdir(parents=True, exist_ok=True)


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


def move(path: Path | UPath, target: Path | UPath) -> None:
    """Gives a file, or a folder with all it holds, another name on the same disk or bucket."""
    if isinstance(path, Path):
        path.rename(target)
    else:
        attempt(path, path.fs.mv, path.path, target.path, recursive=True)


@contextlib.contextmanager
def lock(folder: Path | UPath) -> Iterator[None]:
    """Keeps a folder of the disk to this command, and sweeps what killed ones left in it.

    The system gives the lock back when the process ends, however it ends. A folder behind a URL
    cannot be locked.

    Raises:
        UserError: Another command holds it; says which.
    """
    if not isinstance(folder, Path):
        yield
        return
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with _locked(path) as file:
        file.truncate(0)
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}: {command}".encode(
                errors="backslashreplace"
            )
        )
        file.flush()
        sweep(folder)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):  # it holds something now
                    folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    while True:
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                file.seek(0)
                owner = file.read().decode(errors="replace") or "another process"
                raise UserError(
                    f"{path.parent} is in use by {owner}; wait until it has ended, end it, or use "
                    "another folder"
                ) from None
            # The one who held it may have deleted the file between our opening and locking it.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return
