"""Trains a model: the recipe of the paper, resumable at any step."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from clu import parameter_overview
from ml_collections import ConfigDict
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.fold import Fold, open_fold
from mmadfer_jax.errors import UserError, out_of_memory_says
from mmadfer_jax.evaluation.classes import describe_match, same_classes
from mmadfer_jax.evaluation.evaluator import Answers, evaluate_clips
from mmadfer_jax.evaluation.metrics import confusion_matrix, uar, war
from mmadfer_jax.evaluation.report import write_report
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import Params
from mmadfer_jax.trained import TrainedModel, load_model
from mmadfer_jax.training import input as data
from mmadfer_jax.training import processes, provenance
from mmadfer_jax.training.checkpoints import Checkpoints, Saved
from mmadfer_jax.training.frozen import read_frozen, weights_sha256, write_frozen
from mmadfer_jax.training.log import TrainingLog, console, freeze_table
from mmadfer_jax.training.optimizer import split
from mmadfer_jax.training.program import Metrics, Program, TrainState
from mmadfer_jax.training.settings import (
    Settings,
    check_settings,
    fill_from,
    open_workdir,
    resolve,
    sides_of,
)
from mmadfer_jax.training.sharding import bytes_held, make_mesh
from mmadfer_jax.weights.initial import (
    Encoders,
    differences,
    initial_params,
    params_from_model,
)

# Steps that may wait for the device before the host waits for them: so it never idles, and the
# batches that wait do not fill its memory.
_IN_FLIGHT = 2
_LESS_MEMORY = "lower config.train.batch_size and config.eval.batch_size, or use more devices"


class Run(NamedTuple):
    """A run where it begins or goes on.

    Attributes:
        program: What it computes.
        card: Its model's.
        state: What is trained.
        frozen: What is not, on the mesh.
        progress: What the log kept in the checkpoint.
        notes: What to say of it.
    """

    program: Program
    card: ModelCard
    state: TrainState
    frozen: Params
    progress: dict[str, Any]
    notes: Sequence[str]


def train(config: ConfigDict, workdir: str | Path | UPath) -> dict[str, Any]:
    """Trains `config` in `workdir`, going on from its newest checkpoint, and reports at the end.

    A run that was killed anywhere gives, started again, the numbers of one that was not: the state,
    the place in the data and the running sums are restored, and a step depends on nothing else.
    Several processes that are `processes.joined` train one model; process 0 writes.

    Returns:
        What `report/results.json` holds.

    Raises:
        UserError: For settings, data, weights or a checkpoint that do not fit, before training; for
            a loss that is not finite, before anything is overwritten.
        PreemptedError: SIGTERM has come; the state is saved.
    """
    #### Settings and data. Whatever does not fit is refused before anything slow starts.
    processes.progress("reading settings and data")
    check_settings(config)
    workdir = open_workdir(workdir)
    fold = open_fold(config.data.dir, config.data.fold)
    provenance.check_same_everywhere(config, fold, workdir)
    primary = processes.is_primary()

    with contextlib.ExitStack() as stack:
        stack.enter_context(out_of_memory_says(_LESS_MEMORY))
        if primary:
            stack.enter_context(files.lock(workdir))
        processes.check_shared(workdir)
        preemption = stack.enter_context(contextlib.closing(processes.Preemption()))

        #### Model and weights: those of the newest whole checkpoint, or new ones.
        checkpoints = stack.enter_context(
            Checkpoints(workdir, keep=config.checkpoint.keep, writing=True)
        )
        found = checkpoints.newest(lambda saved: _go_on(config, fold, workdir, checkpoints, saved))
        run = found[1] if found else _begin(config, fold, workdir)
        program, card, state, frozen = run.program, run.card, run.state, run.frozen
        epochs, start = program.epochs, int(state.step)
        checkpoints.check_room(state)
        if primary:
            _announce(config, fold, run, checkpoints.passed_over(), workdir)

        #### Log and batches.
        batch_size, every = config.train.batch_size, config.checkpoint.every_steps
        log = TrainingLog(
            workdir if primary else None,
            epochs,
            batch_size=batch_size,
            every_steps=config.log_every_steps,
            start_step=start,
            progress=run.progress,
        )
        stack.callback(log.close)
        rows = data.local_rows(program.batch_sharding, batch_size)
        batches = data.train_batches(
            fold.train,
            card.reading,
            batch_size=batch_size,
            seed=config.seed,
            epochs=epochs.epochs,
            start_batch=epochs.batch(start),
            rows=rows,
            num_workers=config.data.num_workers,
        )
        stack.callback(batches.close)

        #### Steps. The host waits for the device where it logs, evaluates or saves, nowhere else.
        key, answers = program.key(config.seed), None
        waiting: list[tuple[int, Metrics]] = []

        def take_in() -> None:
            """Reads the metrics of the steps taken since it was last called."""
            for done, values in jax.device_get(waiting):
                _check_finite(done, values, config, fold, program, checkpoints)
                log.step(done, values, program.schedule(done - 1))
            waiting.clear()

        def end_epoch(step: int) -> None:
            nonlocal answers, card
            last, test = step == epochs.total_steps, {}
            if last or epochs.finished(step)[0] % config.eval.every_epochs == 0:
                answers = _evaluate(config, fold, program, state, frozen, card, preemption)
                test = _figures(answers, card)
                card = dataclasses.replace(card, figures={"step": step, **test})
            log.epoch(step, program.schedule(step - 1), test)

        def save(step: int) -> None:
            nonlocal saved
            processes.progress(f"saving step {step}")
            checkpoints.save(step, state, card, log.progress())
            saved = step

        step = saved = start
        try:
            if log.has_open_epoch(start):  # it ended in its evaluation
                end_epoch(start)
                checkpoints.amend(start, card, log.progress())
            for step, batch in enumerate(batches, start + 1):
                processes.progress(f"training step {step}")
                placed = data.to_global(batch, program.batch_sharding, batch_size, rows)
                state, metrics = program.train_step(state, frozen, placed, key)
                waiting.append((step, metrics))
                if len(waiting) > _IN_FLIGHT:
                    jax.block_until_ready(waiting[-1 - _IN_FLIGHT][1])
                ends_epoch = epochs.finished(step)[1] == 0
                saves = ends_epoch or step % every == 0
                if saves or log.is_due(step):
                    take_in()
                if ends_epoch:
                    end_epoch(step)
                if saves:
                    save(step)
                preemption.check()
        except processes.PreemptedError:
            take_in()
            if saved != step:
                save(step)
            raise processes.PreemptedError(
                f"SIGTERM came; the state after step {step} is saved, the same command goes on"
            ) from None

        #### Report of the last epoch, which is the protocol's.
        if answers is None:  # the run had ended before
            answers = _evaluate(config, fold, program, state, frozen, card, preemption)
        processes.progress("writing the report")
        if primary:
            files.write(workdir / "card.json", _json(card.to_dict()))
        return write_report(
            workdir / "report" if primary else None,
            answers,
            card.classes,
            settings={"model": str(workdir), "data": card.data, "card": card.to_dict()},
            history=log.history,
            step=epochs.total_steps,
        )


def _begin(config: ConfigDict, fold: Fold, workdir: Path | UPath) -> Run:
    """A run from the first step: encoders from their files or a whole model, the rest drawn."""
    base = load_model(config.init_from) if config.init_from else None
    given = [f"{side}_{what}" for side in sides_of(config) for what in ("weights", "sha256")]
    encoders = Encoders.read(
        **{name: config[name] for name in given}, audio_positions=config.audio_positions
    )
    settings = resolve(config, fold, fill_from(base.card.model) if base else encoders.fit)
    program = Program(settings, make_mesh(**config.mesh))
    data.local_rows(program.batch_sharding, config.train.batch_size)  # refuses uneven batches now
    data.local_rows(program.batch_sharding, config.eval.batch_size)
    notes = []
    if base is None:
        params, sources = initial_params(program.model, seed=config.seed, encoders=encoders)
    else:
        provenance.check_preparation(fold.info.preparation, base.card, config.allow_mismatch)
        places = same_classes(fold.info.classes, base.card.classes or ())
        params = params_from_model(
            program.model, base.params, base.card.model, classes=places, seed=config.seed
        )
        sources = {"seed": config.seed, "init_from": base.path, "its_sources": base.card.sources}
        notes = [*base.notes, _describe_base(base, program.model, fold, places)]
    trainable, frozen = split(params, program.labels)
    digests = {"trained": weights_sha256(trainable), "frozen": weights_sha256(frozen)}
    processes.agree("their weights", digests)
    if processes.is_primary():
        write_frozen(workdir, frozen, digests["frozen"])
    card = ModelCard(
        model=program.model,
        classes=fold.info.classes,
        preparation=fold.info.preparation,
        frame_order=config.data.frame_order,
        missing_sound=config.data.missing_sound,
        sources=sources,
        data=provenance.describe_data(fold),
        training={"config": settings, "frozen_sha256": digests["frozen"]},
    )
    state, placed = program.init_state(trainable), program.place_frozen(frozen)
    return Run(program, card, state, placed, {}, notes)


def _describe_base(
    base: TrainedModel, model: ModelConfig, fold: Fold, places: Sequence[int] | None
) -> str:
    said = [f"trained on from {base.path}", *differences(model, base.card.model).values()]
    if places is None:
        known = ", ".join(base.card.classes or ["unknown"])
        said.append(f"its classes are {known}, so the head is drawn anew")
    elif matched := describe_match(fold.info.classes, base.classes, places):
        said.append(matched)
    return "; ".join(said)


def _go_on(
    config: ConfigDict, fold: Fold, workdir: Path | UPath, checkpoints: Checkpoints, saved: Saved
) -> Run:
    """A run from a checkpoint; it needs no file beside its own directory and the data."""
    card = saved.card
    settings = resolve(config, fold, fill_from(card.model))
    provenance.check_same_run(settings, card, workdir)
    provenance.check_same_files(settings, card, workdir)
    provenance.check_preparation(fold.info.preparation, card, config.allow_mismatch)
    provenance.check_same_data(provenance.describe_data(fold), card, workdir)
    recipe = settings["train"]
    epochs, notes = provenance.going_on(recipe, recipe["steps_per_epoch"], card, saved.step)
    recipe |= dataclasses.asdict(epochs)
    program = Program(settings, make_mesh(**config.mesh))
    card = dataclasses.replace(card, training={**card.training, "config": settings})
    state = checkpoints.state(saved, program.abstract_state())
    frozen = program.place_frozen(read_frozen(workdir, card.training["frozen_sha256"]))
    return Run(program, card, state, frozen, saved.progress, notes)


def _announce(
    config: ConfigDict, fold: Fold, run: Run, passed_over: Sequence[str], workdir: Path | UPath
) -> None:
    """Prints what is about to run and writes it beside the run."""
    program, start = run.program, int(run.state.step)
    stored = program.abstract_trainable() | program.abstract_frozen()
    out = console()
    out.print(freeze_table(program.shapes, program.labels, stored))
    mesh = " x ".join(f"{axis} {size}" for axis, size in program.mesh.shape.items())
    held, whole = bytes_held((program.abstract_state(), program.abstract_frozen()))
    out.print(
        f"devices: {jax.device_count()} x {jax.devices()[0].device_kind}, mesh {mesh}\n"
        f"parameters and optimizer: {held / 1e6:,.1f} MB a device, of {whole / 1e6:,.1f} MB\n"
        f"data: {config.data.dir}, trained on {', '.join(fold.train.splits)}, tested on "
        f"{', '.join(fold.test.splits)}, classes {', '.join(fold.info.classes)}\n"
        f"steps: {program.epochs.total_steps}, "
        + (f"going on after step {start}" if start else "from the start")
    )
    for note in (*passed_over, *run.notes):
        out.print(f"note: {note}")
    files.write(workdir / "card.json", _json(run.card.to_dict()))
    overview = parameter_overview.get_parameter_overview(program.shapes, include_stats=False)
    files.write(workdir / "parameters.txt", overview + "\n")


def _check_finite(
    step: int,
    metrics: Metrics,
    config: ConfigDict,
    fold: Fold,
    program: Program,
    checkpoints: Checkpoints,
) -> None:
    """Stops a run whose loss or gradients are not finite, before they reach a checkpoint."""
    wrong = [name for name in ("loss", "grad_norm") if not math.isfinite(metrics[name])]
    if not wrong:
        return
    clips = data.clips_of_batch(
        fold.train,
        batch_size=config.train.batch_size,
        seed=config.seed,
        batch=program.epochs.batch(step - 1),
    )
    last = checkpoints.latest_step()
    kept = "no checkpoint was written yet" if last is None else f"the checkpoint of step {last}"
    raise UserError(
        f"{' and '.join(wrong)} of step {step} are not finite; the batch's clips are "
        f"{', '.join(clips)}. Last good: {kept}. Look at these clips, lower "
        "config.train.learning_rate or set config.model.dtype=float32, then go on"
    )


def _evaluate(
    config: ConfigDict,
    fold: Fold,
    program: Program,
    state: TrainState,
    frozen: Params,
    card: ModelCard,
    preemption: processes.Preemption,
) -> Answers:
    return evaluate_clips(
        program,
        state.trainable,
        frozen,
        fold.test,
        card.reading,
        batch_size=config.eval.batch_size,
        num_workers=config.data.num_workers,
        between=preemption.check,
    )


def _figures(answers: Answers, card: ModelCard) -> dict[str, float]:
    predicted = answers.logits.argmax(axis=1)
    matrix = confusion_matrix(answers.labels, predicted, card.model.num_classes)
    return {"test_uar": uar(matrix), "test_war": war(matrix)}


def _json(values: Settings) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
