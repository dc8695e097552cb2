"""The connection between the processes of a run: signs of life, failures, values to agree on."""

import contextlib
import json
import os
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmadfer_jax.errors import UserError

_BEAT = 1.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one, after which a process counts as lost, or fewer: `patience`
_FAREWELL = 5.0  # seconds in which the others may say what was wrong with them
_CONNECT = 60.0  # seconds to reach process 0
_ADDRESS_BYTES = 1024


class Channel:
    """The connection between process 0 and each other one: a line of JSON a message."""

    def __init__(self, host: str, patience: float):
        """Connects, once jax has.

        Args:
            host: Of process 0, "" where only jax knows it.
            patience: Seconds without `progress` of any process, after which all end.

        Raises:
            UserError: Process 0 cannot be reached, or another one did not come.
        """
        self._index, self._count = jax.process_index(), jax.process_count()
        self._patience, self._silence = patience, min(patience, _SILENCE)
        self._main = threading.main_thread()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._failure: str | None = None
        self._saying, self._has_said = threading.Lock(), False
        self._said: dict[int, tuple[int, str, str, float]] = {}  # steps, doing, where, when
        self._steps, self._doing = 0, "starting"
        self._answers: queue.Queue = queue.Queue()
        self._left: set[int] = set()
        self._peers = self._open(host)  # process -> its connection
        self._gathered = {index: queue.Queue() for index in self._peers}
        self._heard = dict.fromkeys(self._peers, time.monotonic())
        for index in self._peers:
            threading.Thread(target=self._listen, args=(index,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    # Opening.

    def _open(self, host: str) -> dict[int, socket.socket]:
        token = secrets.token_hex(16)
        server = None
        if self._index == 0:
            family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
            server = socket.create_server(
                ("", 0), family=family, dualstack_ipv6=family == socket.AF_INET6
            )
            offer = [token, server.getsockname()[1], *_addresses(host)]
            text = json.dumps(offer).encode()[:_ADDRESS_BYTES].ljust(_ADDRESS_BYTES)
        else:
            text = bytes(_ADDRESS_BYTES)
        # By the devices, since jax alone knows who process 0 is.
        text = bytes(multihost_utils.broadcast_one_to_all(np.frombuffer(text, np.uint8)))
        token, port, *hosts = json.loads(text)
        if server is not None:
            with server:
                return self._accept(server, token)
        for attempt in range(int(_CONNECT)):
            for host in hosts:
                with contextlib.suppress(OSError):
                    connection = socket.create_connection((host, port), timeout=5)
                    connection.settimeout(None)
                    hello = {"token": token, "process": self._index, "host": socket.gethostname()}
                    connection.sendall(_line(hello))
                    self._hosts = {0: host}
                    return {0: connection}
            time.sleep(min(attempt, 1))
        raise UserError(
            f"process {self._index} on {socket.gethostname()} cannot reach process 0 at "
            f"{' or '.join(hosts)}, port {port}; let the hosts of a run reach each other on all "
            "ports"
        )

    def _accept(self, server: socket.socket, token: str) -> dict[int, socket.socket]:
        found: dict[int, socket.socket] = {}
        self._hosts = {0: socket.gethostname()}
        server.settimeout(_CONNECT + 5)
        while len(found) < self._count - 1:
            try:
                connection, _ = server.accept()
                connection.settimeout(5)
                hello = json.loads(_read_line(connection))
            except TimeoutError:
                lost = sorted(set(range(1, self._count)) - set(found))
                raise UserError(f"process {lost[0]} did not reach process 0") from None
            except ValueError:
                continue
            if not isinstance(hello, dict) or hello.get("token") != token:
                connection.close()
                continue
            connection.settimeout(None)
            found[hello["process"]] = connection
            self._hosts[hello["process"]] = hello["host"]
        return found

    # The main thread.

    def progress(self, doing: str) -> None:
        """As `processes.progress`."""
        self._steps, self._doing = self._steps + 1, doing

    def gather(self, name: str, value: Any) -> list[Any]:
        """As `processes.gather`."""
        self.progress(name)
        if self._index:
            self._send(0, {"value": value, "name": name})
            return self._answers.get()
        values = [value]
        for index in range(1, self._count):
            other, found = self._gathered[index].get()
            if other != name:
                raise RuntimeError(f"process {index} is at {other!r}, process 0 at {name!r}")
            values.append(found)
        for index in self._peers:
            self._send(index, {"values": values})
        return values

    def farewell(self) -> None:
        """Waits until all have done their part: who leaves first would look as if it had died."""
        self.gather("ending", None)
        self._over.set()
        for index in self._peers:
            self._send(index, {"bye": True})

    def fail(self, message: str, *, secondary: bool) -> str:
        """Tells the others of an error here, if it is not one of theirs.

        Args:
            message: Of the error.
            secondary: Whether it may come of another process's end, such as a broken connection.

        Returns:
            What to say: the message, or what was wrong with another one.
        """
        until = time.monotonic() + _FAREWELL
        while secondary and self._failure is None and time.monotonic() < until:
            time.sleep(0.05)
        with self._lock:
            self._over.set()
            if self._failure is not None:
                return self._failure
            self._failure = message
        told = f"process {self._index} on {socket.gethostname()} failed: {message}"
        for index in self._peers:
            self._send(index, {"failed": told})
        if self._index == 0:
            self._wait_for_ends()
        return message

    def say(self, text: str) -> None:
        """Prints why this process ends, once: two threads may have found it out together."""
        with self._saying:
            if not self._has_said:
                print(text, file=sys.stderr, flush=True)
            self._has_said = True

    def _wait_for_ends(self) -> None:
        """Lets the others go first: jax's service lives in process 0."""
        until = time.monotonic() + _FAREWELL
        while len(self._left) < len(self._peers) and time.monotonic() < until:
            time.sleep(0.02)

    # The other threads.

    def _listen(self, index: int) -> None:
        file = self._peers[index].makefile("rb")
        while True:
            try:
                text = file.readline()
                message = json.loads(text) if text else None
            except (OSError, ValueError):
                message = None
            self._heard[index] = time.monotonic()
            if message is None:
                self._left.add(index)
                self._end(
                    f"process {index} on {self._hosts[index]} has died (killed, or out of memory; "
                    "its own output says more)"
                )
                return
            if "bye" in message:
                self._left.add(index)
                self._over.set()
                return
            if "failed" in message:
                self._end(message["failed"])
            elif "values" in message:
                self._answers.put(message["values"])
            elif "name" in message:
                self._gathered[index].put((message["name"], message["value"]))
            elif "steps" in message:
                self._hear(index, message["steps"], message["doing"], message["where"])

    def _hear(self, index: int, steps: int, doing: str, where: str) -> None:
        known = self._said.get(index)
        changed = known is None or known[0] != steps
        when = time.monotonic() if changed else known[3]
        self._said[index] = (steps, doing, where, when)

    def _watch(self) -> None:
        while not self._over.wait(_BEAT):
            where = _place_of(self._main)
            self._hear(self._index, self._steps, self._doing, where)
            said = {"steps": self._steps, "doing": self._doing, "where": where}
            for index in self._peers:
                self._send(index, said)
            now = time.monotonic()
            for index, heard in self._heard.items():
                if now - heard > self._silence:
                    self._end(
                        f"process {index} on {self._hosts[index]} has not answered for "
                        f"{self._silence:.0f} s: it is stopped, or the network is cut"
                    )
            if self._index == 0 and len(self._said) == self._count:
                self._check_progress(now)

    def _check_progress(self, now: float) -> None:
        """All wait for the slowest; where nobody moves, the one that is behind is to blame."""
        if now - max(when for *_, when in self._said.values()) < self._patience:
            return
        least = min(steps for steps, *_ in self._said.values())
        behind = [
            f"process {index} on {self._hosts[index]} while {doing} ({where})"
            for index, (steps, doing, where, _) in sorted(self._said.items())
            if steps == least
        ]
        self._end(
            f"no process has gone on for {self._patience:.0f} s; furthest behind: "
            f"{'; '.join(behind)}. Give --timeout=SECONDS if that may take longer"
        )

    def _end(self, message: str) -> None:
        """Ends this process, and through process 0 all others, because of another one."""
        with self._lock:
            if self._failure is not None or self._over.is_set():
                return
            self._failure = message
        # In a thread of its own: the one that listens has to see the others go.
        threading.Thread(target=self._exit, args=(message,), daemon=True).start()

    def _exit(self, message: str) -> NoReturn:
        self.say(f"error: {message}")
        for index in self._peers:
            self._send(index, {"failed": message})
        if self._index == 0:
            self._over.set()
            self._wait_for_ends()
        os._exit(1)

    def _send(self, index: int, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # whoever listens there sees the end too
            self._peers[index].sendall(_line(message))


def _addresses(host: str) -> list[str]:
    """Where others may find this host."""
    found = [host.strip("[]")] if host else []
    found.append(socket.gethostname())
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it asks which way out there is
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _ADDRESS_BYTES:
        if not (more := connection.recv(1)):
            break
        line += more
    return line


def _place_of(thread: threading.Thread) -> str:
    """Where a thread is: file, line and function of its innermost frame."""
    frame = sys._current_frames().get(thread.ident)
    if frame is None:
        return "ended"
    code = frame.f_code
    return f"{Path(code.co_filename).name}, line {frame.f_lineno}, {code.co_name}"
