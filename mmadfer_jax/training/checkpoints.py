"""Checkpoints (Orbax): what trains, the optimizer, the place in the data, and the model's card.

`WORKDIR/checkpoints/STEP/` holds three items: `trainable`, `opt_state` and `run`, a JSON file with
the card, the progress (running sums of the epoch, history of the epochs before) and the SHA-256 of
each array and of itself. Frozen weights lie beside the checkpoints, see `frozen`. Orbax writes a
step under another name and renames it, so a killed run leaves no half-written checkpoint that
counts; what was damaged afterwards is told by the digests, and the checkpoint before it counts.
"""

import contextlib
import glob
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.errors import UserError
from mmadfer_jax.training import processes
from mmadfer_jax.training.program import TrainState
from mmadfer_jax.training.quiet import hush_orbax
from mmadfer_jax.training.sharding import place, to_host

_ITEMS = ("trainable", "opt_state", "run")
_FOLDER, _DAMAGED = "checkpoints", "damaged"

T = TypeVar("T")


class Saved(NamedTuple):
    """A checkpoint without its arrays.

    Attributes:
        step: Steps taken.
        card: The model's.
        progress: What `Checkpoints.save` was given.
        sha256: Of each array, by its path.
    """

    step: int
    card: ModelCard
    progress: dict[str, Any]
    sha256: dict[str, str]


class _DamagedError(Exception):
    """A checkpoint, or a part of it, is not what was saved."""


class Checkpoints:
    """The checkpoints of one work directory.

    Attributes:
        directory: Where they lie.
        damaged: Step -> what is wrong and where it went, of those that `newest` passed over.
    """

    def __init__(self, workdir: str | Path | UPath, *, keep: int = 2, writing: bool = False):
        """Opens them.

        Args:
            workdir: The run's directory.
            keep: How many of the newest to keep.
            writing: Whether to make the directory and save, which process 0 does for all; without
                it there must be a checkpoint.

        Raises:
            UserError: There is none to read and none may be made.
        """
        hush_orbax()
        self._workdir = files.as_path(workdir)
        self.directory = (self._workdir / _FOLDER).absolute()
        self.damaged: dict[int, str] = {}
        if not writing and not files.is_folder(self.directory):
            raise UserError(
                f"{workdir} holds no checkpoint (no folder {_FOLDER} in it); give the --workdir of "
                "a training run"
            )
        self._writing = writing and processes.is_primary()
        if self._writing:
            files.make_folder(self.directory)
        processes.gather("opening the checkpoints", None)
        # One process writes and each reads for itself: what trains is small, and Orbax's own ways
        # to wait for other processes have no end where one of them dies.
        process = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=process,
            active_processes={process},
            barrier_sync_key_prefix=f"process{process}",
        )
        self._manager = ocp.CheckpointManager(
            self._path_for_orbax(),
            item_names=_ITEMS,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep if self._writing else None,
                create=False,
                read_only=not self._writing,
                cleanup_tmp_directories=self._writing,
                enable_async_checkpointing=self._writing,
                multiprocessing_options=alone,
            ),
        )
        if not writing and not self._manager.all_steps():
            self.close()
            raise UserError(f"{workdir} holds no finished checkpoint; train first")

    def _path_for_orbax(self) -> epath.Path:
        """The directory, by a name without brackets where it is on the disk.

        Orbax looks for the parts of a checkpoint with glob, unescaped: below "[x]" it finds none of
        them, and saves nothing without a word.
        """
        self._closing = contextlib.ExitStack()
        plain = glob.escape(str(self.directory)) == str(self.directory)
        if plain or files.is_remote(self.directory):
            return epath.Path(str(self.directory))
        folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="mmadfer_"))
        link = Path(folder, _FOLDER)
        link.symlink_to(self.directory)
        return epath.Path(link)

    def newest(self, restore: Callable[[Saved], T]) -> tuple[Saved, T] | None:
        """The newest checkpoint that is whole, and what `restore` makes of it; None without any.

        Damaged ones are passed over and, where checkpoints are written, set aside, so that the run
        can save those steps again.

        Args:
            restore: Called with the checkpoint; calls `state` or `trainable` for its arrays.

        Raises:
            UserError: There are checkpoints, and none is whole.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        steps = processes.gather("finding checkpoints", steps)[0]
        for step in steps:
            found, wrong = None, None
            try:
                saved = self._read(step)
                found = saved, restore(saved)
            except _DamagedError as error:
                wrong = str(error)
            if said := list(filter(None, processes.gather(f"reading checkpoint {step}", wrong))):
                self.damaged[step] = said[0]
                continue
            self._set_aside_damaged()
            return found
        if not steps:
            return None
        what = "; ".join(f"step {step}: {why}" for step, why in self.damaged.items())
        raise UserError(
            f"no checkpoint in {self.directory} can be read ({what}); copy the run again, or take "
            "another --workdir to start anew"
        )

    def passed_over(self) -> tuple[str, ...]:
        """What to say of damaged checkpoints that `newest` passed over."""
        return tuple(
            f"the checkpoint of step {step} is damaged, the one before it is taken: {why}"
            for step, why in self.damaged.items()
        )

    def state(self, saved: Saved, abstract: TrainState) -> TrainState:
        """The arrays of a checkpoint that go on being trained.

        Args:
            saved: Which one.
            abstract: Shapes, types and shardings wanted; these need not be those it was saved with.
        """
        wanted = {"trainable": abstract.trainable, "opt_state": abstract.opt_state}
        found = self._arrays(saved, wanted)
        shardings = jax.tree.map(lambda x: x.sharding, abstract)
        host = TrainState(np.array(saved.step, np.int32), found["trainable"], found["opt_state"])
        return place(host, shardings)

    def trainable(
        self, saved: Saved, abstract: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, np.ndarray]:
        """Only the trained parameters of a checkpoint, on the host."""
        return self._arrays(saved, {"trainable": dict(abstract)})["trainable"]

    def _arrays(self, saved: Saved, abstract: Mapping[str, Any]) -> dict[str, Any]:
        """Items of a checkpoint as NumPy arrays, which are what was saved."""
        items = {
            name: ocp.args.StandardRestore(
                jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)
            )
            for name, tree in abstract.items()
        }
        restored = self._restore(saved.step, **items)
        found = {name: restored[name] for name in abstract}
        _check(saved, found)
        return found

    def save(
        self, step: int, state: TrainState, card: ModelCard, progress: Mapping[str, Any]
    ) -> None:
        """Starts writing the state after `step` steps; returns before it is on disk.

        All processes have to call it; process 0 writes.

        Raises:
            UserError: The disk has no room for it, or had none for the one before.
        """
        state = to_host(state)
        if not self._writing:
            return
        self.check_room(state)
        arrays = {"trainable": state.trainable, "opt_state": state.opt_state}
        run = {"card": card.to_dict(), "progress": dict(progress)}
        run["array_sha256"] = _sha256_of_each(arrays)
        run["sha256"] = _sha256(run)
        with self._full_disk_is_said():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    trainable=ocp.args.StandardSave(state.trainable),
                    opt_state=ocp.args.StandardSave(state.opt_state),
                    run=ocp.args.JsonSave(run),
                ),
            )

    def amend(self, step: int, card: ModelCard, progress: Mapping[str, Any]) -> None:
        """Puts another card and progress into a checkpoint that is on disk; its arrays stay."""
        if not self._writing:
            return
        run = self._restore(step, run=ocp.args.JsonRestore())["run"]
        run |= {"card": card.to_dict(), "progress": dict(progress)}
        del run["sha256"]
        run["sha256"] = _sha256(run)
        files.write(self.directory / str(step) / "run" / "metadata", json.dumps(run))

    def check_room(self, state: TrainState) -> None:
        """Refuses a disk that has no room for one more checkpoint.

        Raises:
            UserError: That says how much there is and how much it takes.
        """
        if not self._writing or files.is_remote(self.directory):
            return
        # Orbax writes small arrays in blocks and merges them after.
        wanted = 1.5 * sum(x.nbytes for x in jax.tree.leaves(state)) + 16e6
        free = shutil.disk_usage(self.directory).free
        if free < wanted:
            raise UserError(
                f"the disk of {self.directory} has {free / 1e6:.0f} MB free and a checkpoint takes "
                f"up to {wanted / 1e6:.0f} MB; make room, then the same command goes on"
            )

    def latest_step(self) -> int | None:
        """Of the newest checkpoint that is finished or being written; None without any."""
        return self._manager.latest_step()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits until everything is on disk."""
        with self._closing, self._full_disk_is_said():
            self._manager.wait_until_finished()
            self._manager.close()

    def _read(self, step: int) -> Saved:
        run = self._restore(step, run=ocp.args.JsonRestore())["run"]
        if not isinstance(run, dict) or run.pop("sha256", None) != _sha256(run):
            raise _DamagedError("its description is damaged")
        if "array_sha256" not in run:
            raise _DamagedError("it is of an older version, which this one does not read")
        card = ModelCard.from_dict(run["card"], f"the checkpoint {self.directory / str(step)}")
        return Saved(step, card, run["progress"], run["array_sha256"])

    def _restore(self, step: int, **items: ocp.args.CheckpointArgs) -> ocp.args.Composite:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except jax.errors.JaxRuntimeError:  # of the device, such as one without memory left
            raise
        except Exception as error:  # of any type: the bytes may be anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise _DamagedError(f"it cannot be read ({reason})") from error

    def _set_aside_damaged(self) -> None:
        if not self._writing or not self.damaged:
            return
        for step, why in self.damaged.items():
            target = self._workdir / _DAMAGED / f"{step}-{time.time_ns()}"
            files.make_folder(target.parent)
            files.move(self.directory / str(step), target)
            self.damaged[step] = f"{why}; it now lies in {target}"
        self._manager.reload()

    @contextlib.contextmanager
    def _full_disk_is_said(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # what TensorStore makes of ENOSPC
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"the disk of {self.directory} is full; make room, then the same command goes on "
                "from the newest checkpoint"
            ) from error


def _check(saved: Saved, arrays: Any) -> None:
    found = _sha256_of_each(arrays)
    wrong = [path for path, digest in found.items() if saved.sha256[path] != digest]
    if wrong:
        raise _DamagedError(
            f"{len(wrong)} of its arrays are not what was saved, such as {wrong[0]}"
        )


def _sha256_of_each(arrays: Any) -> dict[str, str]:
    """Of the values of each array of a tree, by its path.

    Orbax and TensorStore load most single flipped bytes of a checkpoint without a word.
    """
    return {
        jax.tree_util.keystr(path): hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for path, array in jax.tree_util.tree_leaves_with_path(arrays)
    }


def _sha256(run: Mapping[str, Any]) -> str:
    text = json.dumps(run, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
