"""Checkpoints (Orbax): what trains, the optimizer, the place in the data, and what it all means.

`WORKDIR/checkpoints/STEP/` holds four items: `trainable`, `opt_state`, `progress` (step, batches
taken, running sums of the epoch) and `metadata` (config, class names, the dataset's settings, the
SHA-256 of the frozen weights). Frozen weights are not stored. Orbax writes a step under another
name and renames it, so a killed run leaves no half-written checkpoint that counts.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import Params
from mmadfer_jax.training.state import TrainState

_ITEMS = ("trainable", "opt_state", "progress", "metadata")


def weights_sha256(params: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and float32 values, independent of the order of the dict."""
    digest = hashlib.sha256()
    for path in sorted(params):
        array = np.ascontiguousarray(params[path], dtype=np.float32)
        digest.update(f"{path}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one work directory."""

    def __init__(self, workdir: Path, *, keep: int = 2, create: bool = False):
        """Opens them.

        Args:
          workdir: the run's directory.
          keep: how many of the newest to keep.
          create: whether to make the directory; without it there must be a checkpoint.

        Raises:
          UserError: where there is none to read and none may be made.
        """
        self.directory = (Path(workdir) / "checkpoints").absolute()
        if not create and not self.directory.is_dir():
            raise UserError(
                f"{workdir} holds no checkpoint (no folder {self.directory.name} in it); "
                "give the --workdir of a training run"
            )
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=_ITEMS,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=create, enable_async_checkpointing=True
            ),
        )
        self.latest: int | None = self._manager.latest_step()
        if not create and self.latest is None:
            self.close()
            raise UserError(f"{workdir} holds no finished checkpoint; train first")

    def save(self, state: TrainState, progress: Mapping[str, Any], metadata: Mapping[str, Any]):
        """Starts writing `state`; returns before it is on disk.

        Raises:
          UserError: where the disk has no room for it, or had none for the one before.
        """
        self.check_room(state)
        step = int(state.step)
        with self._full_disk_is_said():
            self._save(step, state, progress, metadata)
        self.latest = step

    def check_room(self, state: TrainState):
        """Refuses a disk that has no room for one more checkpoint.

        Raises:
          UserError: that says how much there is and how much it takes.
        """
        # Orbax writes small arrays in blocks and merges them after.
        wanted = 1.5 * sum(x.nbytes for x in jax.tree.leaves(state)) + 16e6
        free = shutil.disk_usage(self.directory).free
        if free < wanted:
            raise UserError(
                f"the disk of {self.directory} has {free / 1e6:.0f} MB free and a checkpoint takes "
                f"up to {wanted / 1e6:.0f} MB; make room, then the same command goes on"
            )

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

    def _save(
        self,
        step: int,
        state: TrainState,
        progress: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ):
        self._manager.save(
            step,
            args=ocp.args.Composite(
                trainable=ocp.args.StandardSave(state.trainable),
                opt_state=ocp.args.StandardSave(state.opt_state),
                progress=ocp.args.JsonSave({"step": step, **progress}),
                metadata=ocp.args.JsonSave(dict(metadata)),
            ),
        )

    def metadata(self) -> dict[str, Any]:
        """Config, class names, dataset settings and frozen SHA-256 of the newest checkpoint."""
        return self._restore(metadata=ocp.args.JsonRestore())["metadata"]

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The newest state and its progress.

        Args:
          state: arrays or abstract arrays with the shapes, types and shardings wanted, which need
            not be those it was saved with.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        found = self._restore(
            trainable=ocp.args.StandardRestore(abstract.trainable),
            opt_state=ocp.args.StandardRestore(abstract.opt_state),
            progress=ocp.args.JsonRestore(),
        )
        step = jax.device_put(np.int32(found["progress"]["step"]), state.step.sharding)
        return TrainState(step, found["trainable"], found["opt_state"]), found["progress"]

    def trainable(self, abstract: Mapping[str, jax.ShapeDtypeStruct]) -> Params:
        """Only the trained parameters of the newest checkpoint."""
        return self._restore(trainable=ocp.args.StandardRestore(dict(abstract)))["trainable"]

    def _restore(self, **items: ocp.args.CheckpointArgs) -> ocp.args.Composite:
        try:
            return self._manager.restore(self.latest, args=ocp.args.Composite(**items))
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(
                f"the checkpoint {self.directory / str(self.latest)} cannot be read: {error}"
            ) from error

    def close(self):
        """Waits until everything is on disk."""
        with self._full_disk_is_said():
            self._manager.wait_until_finished()
            self._manager.close()
