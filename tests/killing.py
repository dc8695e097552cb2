"""A training run as a command of its own, killed at chosen moments and started again.

`main.py` trains a small model on the small dataset: five steps an epoch, a checkpoint after every
second step and after every epoch, an evaluation every epoch, every step logged.
"""

import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import jax
import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh
from mmadfer_jax.weights.model_files import save_model
from tests.conftest import SMALL, XLA_FLAGS, write_small_dataset
from tests.golden_weights import random_params
from tests.sizes import changed

ROOT = Path(__file__).resolve().parent.parent
STEPS_PER_EPOCH = 5
MODEL = changed(SMALL, depth=1, stages=1, temporal_depth=1)
_CONFIG = """
from tests.conftest import set_model, small_settings
from tests.killing import MODEL


def get_config():
    config = small_settings({data!r})
    set_model(config, MODEL)
    config.init_from = {model!r}
    config.train.update({{"batch_size": 4, "epochs": {epochs}}})
    config.checkpoint.every_steps = 2
    return config
"""
# The programs of all starts are compiled once, in a hurry. Tests that kill nothing do not share
# them: what a killed process left of a program fails its check sum, and jax compiles it again,
# with a warning.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_COMPILATION_CACHE_MAX_SIZE": "-1",
    "XLA_FLAGS": XLA_FLAGS,
}
_TEMPORARY_STEP = "*.orbax-checkpoint-tmp*"
_POLL = 0.001  # seconds


class Kill(NamedTuple):
    """What a kill met.

    Attributes:
        moment: What was waited for, of `MOMENTS`.
        phase: What the process was doing, by its output and its files.
        saving: Whether a checkpoint was being written meanwhile.
        seconds: Since its start.
        came_from: The step it had gone on from, 0 from the start.
        reached: The last step it had told.
    """

    moment: str
    phase: str
    saving: bool
    seconds: float
    came_from: int
    reached: int


def write_model(path: Path, model: ModelConfig) -> None:
    """A model to start from, as drawing one anew takes seconds of each start."""
    preparation = PrepareSettings(image_size=32).to_dict()
    card = ModelCard(model, ("red", "green", "blue"), preparation=preparation)
    save_model(path, random_params(model), card, layout="own")


class Trial:
    """A folder with data, a config and the runs of one command."""

    def __init__(self, folder: Path, *, epochs: int, processes: int = 1, devices: int = 1):
        """Writes what the command needs.

        Args:
            folder: An empty one.
            epochs: Of a run.
            processes: That run the command together.
            devices: Of each process.
        """
        self._folder, self.epochs = folder, epochs
        self._processes, self._devices = processes, devices
        (folder / "data").mkdir()
        write_small_dataset(folder / "data")
        write_model(folder / "model.safetensors", MODEL)
        paths = {"data": str(folder / "data"), "model": str(folder / "model.safetensors")}
        (folder / "config.py").write_text(_CONFIG.format(epochs=epochs, **paths))

    def run(self, name: str) -> Path:
        """The directory of a run; all are called alike, as reports name them."""
        return self._folder / name / "run"

    def start(self, name: str, *flags: str, processes: int = 0, devices: int = 0) -> "Life":
        """Starts the command of a run, the same whether it is the first time or not.

        Args:
            name: Of the run.
            flags: More of them for the command; in them "{process}" stands for its number.
            processes: In place of the trial's.
            devices: In place of the trial's.
        """
        self.run(name).parent.mkdir(exist_ok=True)
        return Life(
            self._folder / "config.py",
            self.run(name),
            self.epochs,
            processes=processes or self._processes,
            devices=devices or self._devices,
            flags=flags,
        )

    def finish(self, name: str, *flags: str, **options: int) -> "Life":
        """Runs it to its end; arguments as of `start`."""
        life = self.start(name, *flags, **options)
        life.wait()
        return life


class Life:
    """The process of a run, or its processes."""

    def __init__(
        self,
        config: Path,
        run: Path,
        epochs: int,
        *,
        processes: int = 1,
        devices: int = 1,
        flags: Sequence[str] = (),
    ):
        """Starts it; arguments as of `Trial.start`."""
        self._run, self._total = run, epochs * STEPS_PER_EPOCH
        self._stale = set(files.names(run / "report"))  # such as what the last kill left there
        self._began = time.monotonic()
        kept = os.environ.get("JAX_COMPILATION_CACHE_DIR", config.parent)
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(kept, "compiled_to_be_killed"))}
        command = [sys.executable, ROOT / "main.py", f"--config={config}", "--workdir=run"]
        if processes > 1:
            command += [f"--coordinator=localhost:{free_port()}", f"--processes={processes}"]
            command += ["--process={process}", "--timeout=100"]
        command += flags  # of two the last one counts
        self.processes, self._lines, self._readers = [], [], []
        for index in range(processes):
            process = subprocess.Popen(
                [str(part).replace("{process}", str(index)) for part in command],
                cwd=run.parent,
                env=os.environ | _ENVIRONMENT | cache | {"JAX_NUM_CPU_DEVICES": str(devices)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            lines: list[str] = []
            reader = threading.Thread(target=_read, args=(process.stderr, lines))
            reader.start()
            self.processes.append(process)
            self._lines.append(lines)
            self._readers.append(reader)

    def text(self, process: int = 0) -> str:
        """What a process has printed on stderr."""
        return "".join(self._lines[process])

    def end(self, seconds: float = 120) -> list[int]:
        """Waits for its end; the exit status of every process."""
        until = time.monotonic() + seconds
        try:
            codes = [process.wait(max(until - time.monotonic(), 0.1)) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
            for reader in self._readers:
                reader.join()
            for process in self.processes:
                process.stderr.close()
        return codes

    def wait(self) -> None:
        """Waits for its end, which must be a good one."""
        codes = self.end(600)
        assert not any(codes), "\n".join(map(self.text, range(len(codes))))

    def kill_at(self, moment: str, rng: random.Random) -> Kill | None:
        """Kills it, or one of its processes, at a moment; None where it ended before, well.

        The other processes have to end by themselves.

        Args:
            moment: Of `MOMENTS`.
            rng: Decides what the moment leaves open.
        """
        for pause in MOMENTS[moment](self, rng):
            if self._has_ended():
                break
            time.sleep(pause)
        victim = rng.randrange(len(self.processes))
        if self._has_ended():
            self.wait()
            return None
        self.processes[victim].kill()
        seconds = time.monotonic() - self._began
        codes = self.end(200)
        assert all(codes), f"process {victim} was killed, exit statuses are {codes}"
        came_from, told = self._came_from(), self._told()
        return Kill(
            moment=moment,
            phase=self._phase(),
            saving=bool(self._unfinished_steps()),
            seconds=round(seconds, 2),
            came_from=came_from,
            reached=max([came_from, *told]),
        )

    def until(self, moment: str, rng: random.Random) -> None:
        """Waits for a moment, which has to come."""
        for pause in MOMENTS[moment](self, rng):
            assert not self._has_ended(), self.text()
            time.sleep(pause)

    def _has_ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def _came_from(self) -> int:
        found = re.search(r"^steps: .* going on after step (\d+)$", self.text(), re.M)
        return int(found[1]) if found else 0

    def _told(self) -> list[int]:
        return [int(step) for step in re.findall(r"^step (\d+)/", self.text(), re.M)]

    def _has_started(self) -> bool:
        return re.search(r"^steps: ", self.text(), re.M) is not None

    def _unfinished_steps(self) -> set[str]:
        """Checkpoints being written; those of killed processes are gone when it has started."""
        found = self._run.glob(f"checkpoints/{_TEMPORARY_STEP}") if self._has_started() else ()
        return {path.name for path in found}

    def _report_is_unfinished(self) -> bool:
        return any(map(files.is_temporary, {*files.names(self._run / "report")} - self._stale))

    def _phase(self) -> str:
        told = self._told()
        if not self._has_started():
            return "starting"
        if self._report_is_unfinished():
            return "reporting"
        if self._lines[0][-1].startswith("step ") and told[-1] % STEPS_PER_EPOCH == 0:
            return "evaluating"
        return "ending" if max([self._came_from(), *told]) == self._total else "training"

    # Moments: each yields pauses, in seconds, until it has come.

    def _starting(self, rng: random.Random):
        yield rng.uniform(0, 6)

    def _training(self, rng: random.Random):
        wanted = rng.randint(1, 4)
        while len(self._told()) < wanted:
            yield _POLL
        yield rng.uniform(0, 0.1)

    def _evaluating(self, rng: random.Random):
        while not any(step % STEPS_PER_EPOCH == 0 for step in self._told()):
            yield _POLL
        yield rng.uniform(0, 0.5)

    def _saving(self, rng: random.Random):
        seen, wanted = self._unfinished_steps(), rng.randint(1, 2)
        while len(seen) < wanted:
            yield _POLL
            seen |= self._unfinished_steps()
        yield rng.uniform(0, 0.3)

    def _reporting(self, rng: random.Random):
        while not self._report_is_unfinished():
            yield _POLL
        yield rng.uniform(0, 0.05)


MOMENTS: dict[str, Callable[[Life, random.Random], object]] = {
    "starting": Life._starting,
    "training": Life._training,
    "evaluating": Life._evaluating,
    "saving": Life._saving,
    "reporting": Life._reporting,
}


def _read(stream: TextIO, lines: list[str]) -> None:
    lines.extend(line for line in stream if not line.startswith("[Gloo]"))


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def leftovers(run: Path) -> list[str]:
    """Names below a run's directory that only a run at work has."""
    return [
        str(path.relative_to(run))
        for path in sorted(run.rglob("*"))
        if files.is_temporary(path.name) or path.match(_TEMPORARY_STEP) or path.name == files.LOCK
    ]


def events(run: Path) -> dict[tuple[str, int], set[bytes]]:
    """Tag and step -> the bits of every value in any event file."""
    found: dict[tuple[str, int], set[bytes]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                bits = make_ndarray(value.tensor).tobytes()
                found.setdefault((value.tag, event.step), set()).add(bits)
    return found


def differences(run: Path, other: Path) -> list[str]:
    """In what a run, taken up again and again, differs from one that was left alone."""
    found = [f"left behind: {name}" for name in leftovers(run)]
    mine, theirs = _plain_files(run), _plain_files(other)
    found += [
        f"file: {name}" for name in sorted(mine | theirs) if mine.get(name) != theirs.get(name)
    ]
    mine, theirs = events(run), events(other)
    found += [
        f"event: {tag} of step {step}"
        for tag, step in sorted(mine | theirs)
        if mine.get((tag, step)) != theirs.get((tag, step))
    ]
    mine, theirs = _arrays(run), _arrays(other)
    found += [
        f"array: {name}"
        for name in sorted(mine | theirs)
        if not np.array_equal(mine.get(name), theirs.get(name))
    ]
    return found


def _plain_files(run: Path) -> dict[str, bytes]:
    """All but checkpoints and events, which hold times."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.relative_to(run).parts[0] not in ("checkpoints", "tensorboard")
    }


def _arrays(run: Path) -> dict[str, np.ndarray]:
    """All that the newest checkpoint holds, and which it is."""
    with Checkpoints(run) as checkpoints:

        def restore(saved):
            mesh = make_mesh(devices=jax.devices()[:1])
            program = Program(saved.card.training["config"], mesh)
            return checkpoints.state(saved, program.abstract_state())

        _, state = checkpoints.newest(restore)
        assert not checkpoints.passed_over()
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
