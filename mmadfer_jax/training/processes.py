"""Several processes that compute as one: how they find, agree with, and end with each other.

jax connects the devices of all processes. When one of them dies, its own ways to tell the others
take minutes, or never come where a process hangs or fails by itself. So each holds one more
connection, to process 0, over which come signs of life, the reason of a failure, and values on
which all have to agree. Whatever happens to one process, all end soon, and say why.
"""

import contextlib
import importlib.util
import json
import os
import queue
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError, describe

PATIENCE = 1800.0  # seconds without progress
PREEMPTED = 128 + signal.SIGTERM  # exit status, as shells give it
_BEAT = 1.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one, after which a process counts as lost, or fewer: `patience`
_FAREWELL = 5.0  # seconds in which the others may say what was wrong with them
_MEET = 300.0  # seconds in which all have to be started, or fewer: `patience`
_CONNECT = 60.0  # seconds to reach process 0
_ADDRESS_BYTES = 1024
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class PreemptedError(Exception):
    """The scheduler wants the machine back (SIGTERM)."""


def is_primary() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


@contextlib.contextmanager
def joined(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    patience: float = PATIENCE,
) -> Iterator[None]:
    """Connects this process to the others of its run, if it has others, while the block runs.

    Where no argument is given, the environment tells: `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, or what jax finds on a TPU pod, in a SLURM step, an
    Open MPI run or an indexed job of Kubernetes. Where that tells nothing the process is alone.
    With others, an error in the block ends this process and all others, with one message.

    Args:
        coordinator: HOST:PORT of process 0; the port has to be free there.
        processes: How many there are.
        process: Which one this is, counted from 0.
        patience: Seconds after which a process without `progress` counts as hung.

    Raises:
        UserError: The arguments or the environment do not say all of it, or the others do not come.
    """
    global _channel
    if not _initialize(coordinator, processes, process, min(patience, _MEET)):
        yield
        return
    try:
        _channel = _Channel(coordinator, patience)
        yield
        _channel.farewell()
    except BaseException as error:
        _end_all(error)
    _channel = None
    jax.distributed.shutdown()


def _initialize(
    coordinator: str | None, processes: int | None, process: int | None, seconds: float
) -> bool:
    """Starts jax's own service; whether there are other processes at all."""
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if all(value is None for value in given.values()):
        coordinator, *numbers = (os.environ.get(name) or None for name in _VARIABLES)
        if coordinator is None and numbers == [None, None]:
            if not _in_cluster():
                return False
            return _start(seconds)
        given = dict(zip(_VARIABLES, (coordinator, *numbers), strict=True))
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} missing; several processes need all of {', '.join(given)}: the "
            "HOST:PORT of process 0, how many there are, and which one this is, from 0"
        )
    (address_name, address), (_, count), (index_name, index) = given.items()
    try:
        count, index = int(count), int(index)
    except ValueError as error:
        raise UserError(f"{', '.join(list(given)[1:])} have to be whole numbers: {error}") from None
    if not 0 <= index < count:
        raise UserError(f"{index_name}={index} of {count} processes; expected 0 to {count - 1}")
    host, colon, port = str(address).rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"{address_name}={address}; expected HOST:PORT of process 0")
    if count == 1:
        return False
    return _start(seconds, coordinator_address=address, num_processes=count, process_id=index)


def _in_cluster() -> bool:
    """Whether the environment is one in which jax finds its processes by itself."""
    names = os.environ
    if int(names.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in names:
        return "SLURM_STEP_NODELIST" in names
    if int(names.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return True
    if "JOB_COMPLETION_INDEX" in names and "KUBERNETES_SERVICE_HOST" in names:
        if importlib.util.find_spec("kubernetes") is None:
            raise UserError(
                "this is an indexed job of Kubernetes; `pip install kubernetes`, by which jax "
                f"finds the other pods, or set {', '.join(_VARIABLES)}"
            )
        return True
    return (
        importlib.util.find_spec("libtpu") is not None
        and "tpu" in (names.get("JAX_PLATFORMS") or "tpu")
        and any(any(Path("/dev").glob(pattern)) for pattern in ("accel*", "vfio/[0-9]*"))
    )


def _start(seconds: float, **arguments: Any) -> bool:
    apart = (
        f"the processes of this run have not found each other in {seconds:.0f} s; look whether all "
        "of them were started, with the same HOST:PORT and number of processes, and whether the "
        "hosts reach that port"
    )

    def give_up() -> None:
        print(f"error: {apart}", file=sys.stderr, flush=True)
        os._exit(1)

    # jax would end the process with a stack trace of C++.
    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=int(seconds) + 60)
    except Exception as error:  # of many kinds, some of C++
        raise UserError(f"{apart} ({' '.join(str(error).split())[:300]})") from error
    finally:
        timer.cancel()
    return jax.process_count() > 1


def progress(doing: str) -> None:
    """Says that the program moves on, and what it does next.

    Where a process has not said so for the time of `joined`, all end. Costs next to nothing.
    """
    if _channel is not None:
        _channel.progress(doing)


def gather(name: str, value: Any) -> list[Any]:
    """What every process says of something, in their order; all have to ask.

    Args:
        name: Of what.
        value: What this process says, as JSON holds it.
    """
    return [value] if _channel is None else _channel.gather(name, value)


def agree(what: str, values: Mapping[str, Any]) -> None:
    """Compares values which all processes must have alike.

    Args:
        what: They are, for the message.
        values: Name -> value, as JSON holds it.

    Raises:
        UserError: That names a value in which a process differs from process 0.
    """
    first, *others = gather(what, dict(values))
    for index, other in enumerate(others, 1):
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"the processes differ in {what}: {name} is {first.get(name)!r} in process 0 "
                    f"and {other.get(name)!r} in process {index}; give all of them the same"
                )


def check_shared(folder: Path | UPath) -> None:
    """Looks whether a folder, which process 0 has made, is the same for all processes.

    Raises:
        UserError: It is not, for instance a disk of each host's own.
    """
    if _channel is None:
        return
    mark = folder / f".shared.{secrets.token_hex(6)}.tmp"  # a name that `files.sweep` knows
    name = gather("marking the work directory", mark.name)[0]
    if is_primary():
        files.write(mark, "")
    gather("marked the work directory", None)
    until = time.monotonic() + _FAREWELL  # network disks show a new file late
    while not (found := files.is_file(folder / name)) and time.monotonic() < until:
        time.sleep(0.1)
    missing = [index for index, seen in enumerate(gather("seeing the mark", found)) if not seen]
    if is_primary():
        files.remove(mark)
    if missing:
        raise UserError(
            f"process {missing[0]} does not see what process 0 writes to {folder}; all processes "
            "need one --workdir, on a disk that the hosts share or behind a URL"
        )


class Preemption:
    """Whether SIGTERM has come, to whichever process.

    All processes ask at the same places, and all get the same answer there.
    """

    def __init__(self):
        """Begins to listen."""
        self._asked, self._signalled, self._before = 0, False, None
        # With others jax listens, and finds a place that all of them reach.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._signal)

    def _signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        self.close()  # a second one ends it at once

    def check(self) -> None:
        """Raises `PreemptedError` where it has."""
        self._asked += 1
        if jax.process_count() == 1:
            reached = self._signalled
        else:
            reached = multihost_utils.reached_preemption_sync_point(self._asked)
        if reached:
            raise PreemptedError("SIGTERM came; the same command goes on")

    def close(self) -> None:
        """No longer listens."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


class _Channel:
    """The connection between process 0 and each other one: a line of JSON a message."""

    def __init__(self, coordinator: str | None, patience: float):
        self._index, self._count = jax.process_index(), jax.process_count()
        self._patience, self._silence = patience, min(patience, _SILENCE)
        self._main = threading.main_thread()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._failure: str | None = None
        self._said: dict[int, tuple[int, str, str, float]] = {}  # steps, doing, where, when
        self._steps, self._doing = 0, "starting"
        self._answers: queue.Queue = queue.Queue()
        self._left: set[int] = set()
        host = coordinator or os.environ.get(_VARIABLES[0]) or ""
        self._peers = self._open(host.rpartition(":")[0])  # process -> its connection
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
        self._steps, self._doing = self._steps + 1, doing

    def gather(self, name: str, value: Any) -> list[Any]:
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
        print(f"error: {message}", file=sys.stderr, flush=True)
        for index in self._peers:
            self._send(index, {"failed": message})
        if self._index == 0:
            self._over.set()
            self._wait_for_ends()
        os._exit(1)

    def _send(self, index: int, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # whoever listens there sees the end too
            self._peers[index].sendall(_line(message))


_channel: _Channel | None = None


def _end_all(error: BaseException) -> NoReturn:
    """Ends this process after an error, and all others, without waiting for any of them."""
    message = describe(error)
    if message is None:
        message = "".join(traceback.format_exception(error)).rstrip()
    shown = message.splitlines()[-1] if "\n" in message else message
    secondary = isinstance(error, jax.errors.JaxRuntimeError)
    if _channel is not None:
        found = _channel.fail(shown, secondary=secondary)
        message = message if found == shown else found
    print(message if "\n" in message else f"error: {message}", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


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
