"""What processes on several machines take by name, each name once, in a folder that all see.

A name is taken by the creation of a file, which every shared file system does for one process
alone. Its holder changes the file every few seconds. A file that stays as it is was left by a
process that died. On the same machine the system tells at once, because the holder, and the process
that it started, keep the file locked. From another machine it counts as left once it has not
changed for a while, on the watcher's own clock, so clocks need not agree.

A name that was left is taken by a file of the next number, NAME.1 after NAME.0, so that of several
who notice only one gets it. A holder who was asleep meanwhile sees that file, and has lost.
"""

import contextlib
import datetime
import fcntl
import getpass
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from mmadfer_jax import files

NOBODY = "nobody"
STALE_AFTER = 300.0  # seconds
_BEATS = 10  # changes of the file in that time
_BEAT = 15.0  # seconds between two at most


class LostError(Exception):
    """Another process has taken the name, or may do so soon because the file cannot be changed."""


class Seen(NamedTuple):
    """A file of another holder, as it was first seen.

    Attributes:
        content: Its name, and what stood in it.
        since: When that was noticed, on this process's clock.
        changed: Whether it has been seen to change.
    """

    content: tuple[str, bytes]
    since: float
    changed: bool


class Lease:
    """A name that this process holds.

    Attributes:
        file: Descriptor of its file, which is locked. A child process that inherits it keeps the
            name from others on this machine until it has ended, even after its parent has died.
    """

    def __init__(self, path: Path, number: int, file: int, stale_after: float):
        """Of `Leases.take`."""
        self.file = file
        self._path, self._number, self._stale_after = path, number, stale_after
        self._count, self._written = 0, time.monotonic()
        self._tried = self._written
        self._owner = _owner() | {"locked": _lock(file, fcntl.LOCK_EX)}
        self._write()

    def refresh(self) -> None:
        """Shows that the holder lives; to be called every second or so.

        Raises:
            LostError: The name is another's.
        """
        if time.monotonic() - self._tried < min(_BEAT, self._stale_after / _BEATS):
            return
        self._tried = time.monotonic()
        try:
            if not self._is_ours():
                raise LostError(f"{self._path.name} was taken by {who(self._path)}")
            self._write()
        except FileNotFoundError:
            raise LostError(f"the lock of {self._path.name} was deleted") from None
        except OSError as error:
            if time.monotonic() - self._written > self._stale_after / 2:
                raise LostError(f"the lock of {self._path.name}: {error}") from error

    def release(self) -> None:
        """Gives the name back, if it is still this process's."""
        with contextlib.suppress(OSError):
            if self._is_ours():
                for number in range(self._number + 1):  # the lowest first, see `Leases.take`
                    _file(self._path, number).unlink(missing_ok=True)
        os.close(self.file)

    def _is_ours(self) -> bool:
        """Whether nobody has taken it over; raises FileNotFoundError where its file is gone."""
        if _file(self._path, self._number + 1).exists():
            return False
        return os.path.samestat(_file(self._path, self._number).stat(), os.fstat(self.file))

    def _write(self) -> None:
        self._count += 1
        text = json.dumps({"count": f"{self._count:012}", **self._owner}) + "\n"
        os.pwrite(self.file, text.encode(), 0)
        os.fsync(self.file)
        self._written = time.monotonic()


class Leases:
    """The names in a folder."""

    def __init__(self, folder: Path, *, stale_after: float = STALE_AFTER):
        """Makes the folder.

        Args:
            folder: Which all processes see.
            stale_after: Seconds without a change after which another machine's holder counts as
                dead. Those of all processes should be equal.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._stale_after = folder, stale_after
        self._seen: dict[str, Seen] = {}
        self._own = threading.Lock()

    def take(self, name: str) -> Lease | None:
        """Takes a name; None where another process holds it or gets it first."""
        with self._own:
            return self._take(self._folder / name)

    def _take(self, path: Path) -> Lease | None:
        number, left = 0, _number(path)
        if left is not None:
            if not self._is_left(path, left):
                return None
            number = left + 1
        try:
            file = os.open(_file(path, number), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return None
        lease = Lease(path, number, file, self._stale_after)
        # While we looked, others may have taken the name, ended their work and given it back. They
        # delete the lower numbers first, so what we took over is then gone.
        gone = left is not None and not _file(path, left).exists()
        if gone or _number(path) != number:
            os.close(file)
            _file(path, number).unlink(missing_ok=True)
            return None
        self._seen.pop(path.name, None)
        return lease

    def is_alive(self, name: str) -> bool:
        """Whether a name that could not be taken is held by a process that was seen to live."""
        with self._own:
            seen = self._seen.get(name)
            return seen is not None and seen.changed

    def _is_left(self, path: Path, number: int) -> bool:
        """Whether its holder is dead; remembers what was seen."""
        now, file = time.monotonic(), _file(path, number)
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            self._seen.pop(path.name, None)
            return False
        content = (file.name, text)
        seen = self._seen.get(path.name)
        if seen is None or seen.content != content:
            same_holder = seen is not None and seen.content[0] == file.name
            seen = self._seen[path.name] = Seen(content, now, same_holder)
        owner = _parsed(text)
        if owner.get("machine") == _machine() and owner.get("locked") and _can_lock(file):
            return True
        return now - seen.since >= self._stale_after


def who(path: Path) -> str:
    """The holder of a name, for people; `path` is the folder's and the name."""
    number = _number(path)
    if number is None:
        return NOBODY
    with contextlib.suppress(OSError):
        if owner := _parsed(_file(path, number).read_bytes()):
            return "process {pid} of {user} on {host}, since {since}".format(**owner)
    return "another process"


def _owner() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may know no name for its user
        user = str(os.getuid())
    return {
        "user": user,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
    }


def _machine() -> str:
    """This machine, since it was started."""
    started = ""
    with contextlib.suppress(OSError):  # Linux alone tells
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()} {started}"


def _parsed(text: bytes) -> dict[str, Any]:
    """The owner in a lock's text; {} where it is just being written."""
    try:
        owner = json.loads(text)
        return owner if {"pid", "user", "host", "since"} <= owner.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:  # another has it, or the file system locks nothing
        return False
    return True


def _can_lock(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _lock(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _file(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _number(path: Path) -> int | None:
    """The highest number of a name's files."""
    prefix = f"{path.name}."
    ends = [name[len(prefix) :] for name in files.names(path.parent) if name.startswith(prefix)]
    return max((int(end) for end in ends if end.isdecimal()), default=None)
