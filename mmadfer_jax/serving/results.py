"""Folders of what was answered, each under a name that nobody can guess, for a while."""

import re
import secrets
import shutil
import threading
import time
from pathlib import Path

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


class Results:
    """The folders below a folder; threads may share it."""

    def __init__(self, folder: Path, keep_seconds: float):
        """Folders older than `keep_seconds` are deleted by `sweep`."""
        self._folder, self._keep = folder, keep_seconds
        self._made: dict[str, float] = {}
        self._lock = threading.Lock()

    def new(self) -> Path:
        """A new folder."""
        token = secrets.token_urlsafe(16)
        path = self._folder / token
        path.mkdir(mode=0o700)
        with self._lock:
            self._made[token] = time.monotonic()
        return path

    def drop(self, folder: Path) -> None:
        """Deletes a folder."""
        with self._lock:
            self._made.pop(folder.name, None)
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes what is too old."""
        now = time.monotonic()
        with self._lock:
            old = [token for token, made in self._made.items() if now - made > self._keep]
        for token in old:
            self.drop(self._folder / token)

    def find(self, token: str, name: str) -> Path | None:
        """A file of a folder, `name` its path below it; None for all else."""
        with self._lock:
            known = bool(_TOKEN.fullmatch(token)) and token in self._made
        if not known or "\0" in name:
            return None
        folder = (self._folder / token).resolve()
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
