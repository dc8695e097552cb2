"""Trains the runs of a study, each in a process of its own; several machines may do it together."""

import contextlib
import datetime
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import mmadfer_jax
from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.studies import outcome
from mmadfer_jax.studies.lease import NOBODY, STALE_AFTER, Lease, Leases, LostError, who
from mmadfer_jax.studies.outcome import CUT, FAILED, FINISHED, OTHER, Outcome, look
from mmadfer_jax.studies.plan import Run
from mmadfer_jax.training.log import console
from mmadfer_jax.training.processes import PREEMPTED
from mmadfer_jax.training.settings import plain

_ROOT = Path(mmadfer_jax.__file__).resolve().parent.parent
_SETTINGS, _LOCKS, _COMPILED = "settings.json", "locks", "compiled"
_CACHE = "JAX_COMPILATION_CACHE_DIR"
# A run has one process, even where this command is one of several in a cluster.
_ALONE = ("--coordinator=localhost:1", "--processes=1", "--process=0")
_POLL = 0.5  # seconds


def leases(folder: Path, stale_after: float) -> Leases:
    """The leases of a study's folder: of its runs, and of its report."""
    return Leases(folder / _LOCKS, stale_after=stale_after)


def holder(folder: Path, run: Run) -> str | None:
    """Who has a run of the study in a folder at the moment; None where nobody has."""
    found = who(folder / _LOCKS / run.name)
    return None if found == NOBODY else found


class Stopped(Exception):  # noqa: N818  as a request, not as a mistake
    """The command was asked to end (SIGTERM); what it trained is saved."""


class Work:
    """The runs of a study, as one command trains them.

    Attributes:
        folder: Of the study; a run's folder lies in it.
        failures: Run -> why, of those that this command could not bring to an end.
    """

    def __init__(self, folder: Path, runs: Sequence[Run], *, stale_after: float = STALE_AFTER):
        """Prepares; starts nothing.

        Args:
            folder: Of the study, on a disk that all machines see.
            runs: Those that are wanted, in the order in which they are taken.
            stale_after: As of `Leases`.
        """
        if not (_ROOT / "main.py").is_file():
            raise UserError(
                f"{_ROOT} has no main.py, which trains the runs of a study; use a clone of the "
                "project"
            )
        self.folder, self._runs = folder, list(runs)
        self._leases = leases(folder, stale_after)
        self._choosing, self._stopping = threading.Lock(), threading.Event()
        self._settled: set[str] = set()  # by this command, or found finished
        # What failed before this command is tried once more; what fails elsewhere meanwhile is not.
        self._failed_before = {run.name: self._failure_time(run) for run in runs}
        self.failures: dict[str, str] = {}

    def train(self, jobs: int = 1) -> None:
        """Trains what is not finished and not trained elsewhere, `jobs` runs at once.

        Raises:
            Stopped: SIGTERM has come.
        """
        with self._ended_by_signals(), ThreadPoolExecutor(jobs) as pool:
            working = [pool.submit(self._train_next) for _ in range(jobs)]
            try:
                for thread in as_completed(working):
                    thread.result()
            except BaseException:
                self._stopping.set()
                raise
        if self._stopping.is_set():
            raise Stopped("the same command goes on")

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self._stopping.set()

        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _train_next(self) -> None:
        """Takes one run after the other, until none is left or the command is to end."""
        while not self._stopping.is_set():
            chosen, undecided = self._choose()
            if chosen:
                run, lease = chosen
                try:
                    self._train(run, lease)
                finally:
                    lease.release()
            elif undecided:  # whether who holds them is alive shows only in time
                self._stopping.wait(_POLL)
            else:
                return

    def _choose(self) -> tuple[tuple[Run, Lease] | None, bool]:
        """A run for this thread to train, and whether others may become free."""
        undecided = False
        with self._choosing:
            for run in self._runs:
                if run.name in self._settled or self._is_settled(look(run, self._of(run))):
                    continue
                lease = self._leases.take(run.name)
                if lease is None:
                    undecided |= not self._leases.is_alive(run.name)
                    continue
                found = look(run, self._of(run))  # another may have ended it just before
                if self._is_settled(found):
                    lease.release()
                    continue
                if found.state == CUT:
                    console().print(f"{run.name}: {found.why}; it is reported anew")
                self._settled.add(run.name)
                return (run, lease), False
        return None, undecided

    def _is_settled(self, found: Outcome) -> bool:
        """Whether there is nothing to do for a run; says so once."""
        run = found.run
        failed_elsewhere = (
            found.state == FAILED and self._failure_time(run) != self._failed_before[run.name]
        )
        if found.state == OTHER or failed_elsewhere:
            self._fail(run, found.why)
        elif found.state == FINISHED:
            console().print(f"{run.name}: finished, {_figures(found)}")
        else:
            return False
        self._settled.add(run.name)
        return True

    def _train(self, run: Run, lease: Lease) -> None:
        folder = self._of(run)
        files.make_folder(folder)
        files.remove(folder / outcome.FAILURE)
        settings = json.dumps(plain(run.config), indent=2, ensure_ascii=False)
        files.write(folder / _SETTINGS, settings + "\n")
        console().print(f"{run.name}: started, log in {folder / outcome.LOG}")
        began = time.monotonic()
        log = folder / outcome.LOG
        place = log.stat().st_size if log.exists() else 0
        try:
            code = self._wait(self._start(run, log, lease), lease)
        except LostError as lost:
            self._fail(run, f"{lost}; it was stopped here")
            return
        found = look(run, folder)
        if found.state == FINISHED:
            took = datetime.timedelta(seconds=round(time.monotonic() - began))
            console().print(f"{run.name}: {_figures(found)} after {took}")
        elif code in (PREEMPTED, -signal.SIGTERM):
            self._stopping.set()  # whoever wants one process to end wants the machine back
            console().print(f"{run.name}: stopped, its state is saved")
        else:
            why = _reason(log, place, code)
            self._fail(run, why)
            outcome.write_failure(folder, why)

    def _command(self, run: Run) -> list[str]:
        """What trains a run."""
        folder = self._of(run)
        return [
            *(sys.executable, "-m", "mmadfer_jax.studies.child", str(_ROOT / "main.py")),
            f"--config={_ROOT / 'configs' / 'saved.py'}:{folder / _SETTINGS}",
            f"--workdir={folder}",
            *_ALONE,
        ]

    def _start(self, run: Run, log: Path, lease: Lease) -> subprocess.Popen:
        """The process that trains a run."""
        command, environment = self._command(run), dict(os.environ)
        paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        if not run.config.get("compilation_cache"):
            # A folder for each machine: what is compiled for one processor may not run on another.
            environment.setdefault(_CACHE, str(self.folder / _COMPILED / socket.gethostname()))
        with log.open("ab") as file:
            now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
            file.write(f"# {now} on {socket.gethostname()}: {shlex.join(command)}\n".encode())
            file.flush()
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its end tells the child that this process is gone
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lease.file],
                start_new_session=True,  # Ctrl-C is this process's to pass on
            )

    def _wait(self, process: subprocess.Popen, lease: Lease) -> int:
        """Its exit status; raises LostError after it has ended, where the run is another's now."""
        asked = False
        with process.stdin:
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        return process.wait(_POLL)
                    lease.refresh()
                    if self._stopping.is_set() and not asked:
                        process.terminate()
                        asked = True
            finally:
                if process.poll() is None:  # the lease is lost: nothing more may be written
                    process.kill()
                    process.wait()

    def _fail(self, run: Run, why: str) -> None:
        self.failures[run.name] = why
        console().print(f"{run.name}: failed: {why}")

    def _of(self, run: Run) -> Path:
        return self.folder / run.name

    def _failure_time(self, run: Run) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._of(run) / outcome.FAILURE).stat().st_mtime_ns
        return None


def _figures(found: Outcome) -> str:
    return f"UAR {found.results['uar']:.2%}, WAR {found.results['war']:.2%}"


def _reason(log: Path, place: int, code: int) -> str:
    """Why a run failed: the last line that says so of what it has printed since `place`."""
    with log.open("rb") as file:
        file.seek(place)
        lines = file.read().decode(errors="replace").splitlines()[1:]
    said = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", which is what a machine without memory left does" if name == "SIGKILL" else ""
        return f"it was ended by {name}{hint}; see {log}"
    return f"{said[-1] if said else 'it printed nothing'} (exit status {code}); see {log}"
