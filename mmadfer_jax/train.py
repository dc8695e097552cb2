"""Trains a model: the recipe of the paper, resumable at any step."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict
from rich.console import Console

from mmadfer_jax import files
from mmadfer_jax.evaluate import read_provenance, report
from mmadfer_jax.evaluation.metrics import uar, war
from mmadfer_jax.models.params import Params
from mmadfer_jax.training import sharding
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.experiment import Experiment
from mmadfer_jax.training.input import batches_per_epoch, to_global, train_batches
from mmadfer_jax.training.log import TrainingLog, freeze_table
from mmadfer_jax.training.optimizer import FROZEN, TRAINED, adamw, epoch_cosine
from mmadfer_jax.training.provenance import Provenance
from mmadfer_jax.training.setup import check_frozen
from mmadfer_jax.training.state import TrainState, make_train_step, new_state

_LOG_WIDTH = 110  # columns of the table of parameters where no terminal says how wide it is


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains `config` in `workdir`, going on from its newest checkpoint, and reports at the end.

    A run that was killed anywhere gives, started again, the numbers of one that was not: the state,
    the place in the data and the running sums are restored, and a step depends on nothing else.

    Returns:
      What `report/results.json` holds; empty in all processes but the first.

    Raises:
      UserError: for settings, data, weights or a checkpoint that do not fit, before training.
    """
    run = _Run(config, Path(workdir))
    try:
        state, frozen = run.start()
        state = run.loop(state, frozen)
    finally:
        run.close()
    matrix = run.last_matrix
    if matrix is None:  # the run had ended before
        matrix = run.experiment.evaluate({**frozen, **state.trainable})
    classes, history = run.experiment.info.classes, run.log.history
    return report(run.experiment, matrix, classes, run.workdir, run.total_steps, history)


class _Run:
    """One run: its experiment, recipe, checkpoints and log."""

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config, self.workdir = config, workdir
        self.experiment = Experiment(config)
        recipe = config.train
        self.steps_per_epoch = batches_per_epoch(
            config.data.dir, self.experiment.train_splits, recipe.batch_size
        )
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.schedule = epoch_cosine(
            recipe.learning_rate, recipe.epochs, self.steps_per_epoch, recipe.warmup_steps
        )
        self.optimizer = adamw(
            self.schedule,
            weight_decay=recipe.weight_decay,
            b1=recipe.b1,
            b2=recipe.b2,
            eps=recipe.eps,
        )
        self.checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, create=True)
        self.log: TrainingLog | None = None
        self.last_matrix: np.ndarray | None = None

    def start(self) -> tuple[TrainState, Params]:
        """The state to go on from and the frozen weights; announces the run."""
        experiment, resumed = self.experiment, self.checkpoints.latest is not None
        if resumed:
            saved = read_provenance(experiment, self.checkpoints, self.workdir, training=True)
        trainable, frozen, frozen_sha256, sources = experiment.setup.start()
        self.provenance = Provenance(
            config=experiment.settings,
            classes=experiment.info.classes,
            preparation=experiment.info.preparation,
            frozen_sha256=frozen_sha256,
            sources=sources,
        )
        state, progress = self._fresh_state(trainable), {}
        if resumed:
            check_frozen(frozen_sha256, saved)
            state, progress = self.checkpoints.restore(state)
        self.checkpoints.check_room(state)
        first = jax.process_index() == 0
        if first:
            self._announce(int(state.step))
        self.log = TrainingLog(
            self.workdir,
            start_step=int(state.step),
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            batch_size=self.config.train.batch_size,
            every_steps=self.config.log_every_steps,
            active=first,
        )
        self.log.sums |= progress.get("epoch_sums", {})
        return state, frozen

    def _fresh_state(self, trainable: dict[str, np.ndarray]) -> TrainState:
        setup = self.experiment.setup
        placed = sharding.place(trainable, setup.shardings)
        abstract = jax.eval_shape(lambda t: new_state(t, self.optimizer), placed)
        shardings = sharding.state_shardings(abstract, setup.mesh, setup.shardings)
        return jax.jit(lambda t: new_state(t, self.optimizer), out_shardings=shardings)(placed)

    def loop(self, state: TrainState, frozen: Params) -> TrainState:
        """Takes all steps from the state's to the last; gives the given state's memory away."""
        config, experiment = self.config, self.experiment
        train_step = jax.jit(
            make_train_step(experiment.setup.model, self.optimizer, experiment.augment),
            donate_argnums=0,
            out_shardings=(jax.tree.map(lambda x: x.sharding, state), None),
        )
        mesh = experiment.setup.mesh
        key = jax.device_put(jax.random.key(config.seed), sharding.replicated(mesh))
        where, start = sharding.batch_sharding(mesh), int(state.step)
        batches = train_batches(
            config.data.dir,
            experiment.train_splits,
            batch_size=config.train.batch_size,
            seed=config.seed,
            epochs=config.train.epochs,
            start_batch=start,
            **experiment.batch_shape(),
        )
        pending: tuple[int, dict[str, jax.Array]] | None = None
        for step, batch in enumerate(batches, start + 1):
            state, metrics = train_step(state, frozen, to_global(batch, where), key)
            if pending is not None:
                self._log_step(*pending)  # read the step before while this one runs
            pending = (step, metrics)
            epoch_ends = step % self.steps_per_epoch == 0
            if not epoch_ends and step % config.checkpoint.every_steps:
                continue
            self._log_step(*pending)
            pending = None
            if epoch_ends:
                self._end_epoch(step, {**frozen, **state.trainable})
            progress = {"epoch_sums": dict(self.log.sums)}
            self.checkpoints.save(state, progress, self.provenance.to_dict())
        return state

    def _log_step(self, step: int, metrics: dict[str, jax.Array]):
        self.log.step(step, jax.device_get(metrics), float(self.schedule(step - 1)))

    def _end_epoch(self, step: int, params: Params):
        test, last = {}, step == self.total_steps
        if last or step // self.steps_per_epoch % self.config.eval.every_epochs == 0:
            matrix = self.experiment.evaluate(params)
            test = {"test_uar": float(uar(matrix)), "test_war": float(war(matrix))}
            self.last_matrix = matrix if last else None
        self.log.epoch(step, float(self.schedule(step - 1)), test)

    def _announce(self, start: int):
        """Prints what is about to run and writes the settings beside it."""
        experiment, setup = self.experiment, self.experiment.setup
        console = Console(stderr=True)
        if not console.is_terminal:
            console.width = _LOG_WIDTH
        stored = {TRAINED: "float32", FROZEN: setup.model.dtype}
        console.print(freeze_table(setup.shapes, setup.labels, stored))
        mesh = " x ".join(f"{axis} {size}" for axis, size in setup.mesh.shape.items())
        console.print(
            f"devices: {jax.device_count()} x {jax.devices()[0].device_kind}, mesh {mesh}\n"
            f"data: {self.config.data.dir}, trained on {', '.join(experiment.train_splits)}, "
            f"tested on {', '.join(experiment.test_splits)}\n"
            f"steps: {self.total_steps}, "
            + (f"going on after step {start}" if start else "from the start"),
            highlight=False,
        )
        settings = json.dumps(self.provenance.to_dict(), indent=2) + "\n"
        files.write(self.workdir / "config.json", settings)
        overview = parameter_overview.get_parameter_overview(setup.shapes, include_stats=False)
        files.write(self.workdir / "parameters.txt", overview + "\n")

    def close(self):
        """Ends display and checkpoints, whatever happened."""
        if self.log is not None:
            self.log.close()
        self.checkpoints.close()
