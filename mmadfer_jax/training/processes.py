"""Several processes that compute as one: how they find, agree with, and end with each other.

jax connects the devices of all processes. When one of them dies, its own ways to tell the others
take minutes, or never come where a process hangs or fails by itself. So each holds one more
connection, to process 0, over which come signs of life, the reason of a failure, and values on
which all have to agree. Whatever happens to one process, all end soon, and say why.
"""

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError, describe
from mmadfer_jax.training.channel import Channel
from mmadfer_jax.training.cluster import has_other_processes, own_gpus

PATIENCE = 1800.0  # seconds without progress
PREEMPTED = 128 + signal.SIGTERM  # exit status, as shells give it
_MEET = 300.0  # seconds in which all have to be started, or fewer: `patience`
_SHOWN = 5.0  # seconds in which a disk that hosts share shows a new file
# A scheduler signals every process of a job, and one that has started this one passes its signal
# on. So signals within seconds are one request; a later one ends the process at once.
_ONE_REQUEST = 5.0
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
        address = coordinator or os.environ.get(_VARIABLES[0]) or ""
        _channel = Channel(address.rpartition(":")[0], patience)
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
            if not has_other_processes(_VARIABLES):
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
        jax.distributed.initialize(
            **arguments, local_device_ids=own_gpus(), initialization_timeout=int(seconds) + 60
        )
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
    until = time.monotonic() + _SHOWN  # network disks show a new file late
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
        self._asked, self._before = 0, None
        self._since: float | None = None  # when SIGTERM came
        # With others jax listens, and finds a place that all of them reach.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._signal)

    def _signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > _ONE_REQUEST:
            self.close()
            signal.raise_signal(number)

    def check(self) -> None:
        """Raises `PreemptedError` where it has."""
        self._asked += 1
        if jax.process_count() == 1:
            reached = self._since is not None
        else:
            reached = multihost_utils.reached_preemption_sync_point(self._asked)
        if reached:
            raise PreemptedError("SIGTERM came; the same command goes on")

    def close(self) -> None:
        """No longer listens."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


_channel: Channel | None = None


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
    text = message if "\n" in message else f"error: {message}"
    if _channel is None:
        print(text, file=sys.stderr, flush=True)
    else:
        _channel.say(text)
    sys.stdout.flush()
    os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
