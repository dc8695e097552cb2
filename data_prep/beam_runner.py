"""Writes the shards of a preparation as an Apache Beam pipeline: on one machine or on many."""

import contextlib
import io
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from upath import UPath

from data_prep import worker
from data_prep.listing import some
from data_prep.plan import Shard, is_complete
from data_prep.shard import write_shard
from mmadfer_jax import files
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.errors import UserError

# What Beam's DirectRunner runs in the end; first it would download and start another program.
_LOCAL_RUNNER = "FnApiRunner"


class _WriteShard(beam.DoFn):
    """Prepares the clips of a shard one after the other and writes it, as the local pool does."""

    def __init__(self, out: Path | UPath, name: str, settings: PrepareSettings):
        self._out, self._name, self._settings = out, name, settings

    def process(self, shard: Shard) -> Iterator[int]:
        """Yields the number of clips done."""
        # Runners repeat a bundle as a whole when one of its shards failed.
        if not is_complete(self._out, self._name, shard):
            worker.load(self._settings)
            write_shard(self._out, self._name, shard, map(worker.prepare, shard.clips))
        yield len(shard.clips)


def parse_options(options: Sequence[str]) -> PipelineOptions:
    """Reads Beam's own options; without a runner among them the pipeline runs on this machine.

    Raises:
        UserError: Beam refuses one.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = PipelineOptions(list(options))
            parsed.get_all_options()
    except SystemExit as error:  # after pages of usage
        reason = said.getvalue().strip().rpartition("error: ")[2].splitlines()[-1:]
        raise UserError(f"--beam_options={' '.join(options)}: {' '.join(reason)}") from error
    standard = parsed.view_as(StandardOptions)
    standard.runner = standard.runner or _LOCAL_RUNNER
    return parsed


def write_shards(
    todo: Sequence[Shard],
    out: Path | UPath,
    name: str,
    settings: PrepareSettings,
    options: PipelineOptions,
) -> None:
    """Runs the pipeline, a shard an element, so that no picture travels between machines.

    Args:
        todo: The shards.
        out: The dataset's folder, one that all machines see.
        name: Of the dataset.
        settings: How clips are prepared.
        options: What `parse_options` gave.

    Raises:
        UserError: The pipeline failed, or wrote to another place than `out`. Finished shards are
            kept.
    """
    try:
        with _roused_by_death(), beam.Pipeline(options=options) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(todo))
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(_WriteShard(out, name, settings))
            )
    except Exception as error:  # Beam wraps what a worker raised, differently in every runner
        raise UserError(
            f"the Beam pipeline failed: {_reason(error)}; finished shards are kept, the same "
            "command goes on from there"
        ) from error
    if files.is_remote(out):
        out.fs.invalidate_cache()  # it may remember from before that the shards are not there
    if lost := [shard for shard in todo if not is_complete(out, name, shard)]:
        names = some(f"{shard.split} {shard.number}" for shard in lost)
        raise UserError(
            f"the Beam pipeline ended, but {len(lost)} of {len(todo)} shards are not in "
            f"--out={out} ({names}): use a folder or URL that all of Beam's workers share"
        )


def _reason(error: Exception) -> str:
    """The last line of what went wrong, which is the error itself below a worker's traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return lines[-1].strip()


@contextlib.contextmanager
def _roused_by_death() -> Iterator[None]:
    """Raises in the pipeline when one of its processes dies.

    Beam's runner with `--direct_running_mode=multi_processing` waits for ever for the answer of a
    process that was killed, for instance where memory ran out; only a thread of it ends with an
    error.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main:  # signals go nowhere else
        yield
        return
    roused = False

    def rouse(signal_number: int, frame: FrameType | None) -> None:
        nonlocal roused
        if not roused:  # once: the second would end the tidying up after the first
            roused = True
            raise ChildProcessError(
                "a worker process died (try fewer --direct_num_workers if memory ran out)"
            )

    def look(failure: threading.ExceptHookArgs) -> None:
        if "Worker subprocess exited" in str(failure.exc_value):
            signal.pthread_kill(main.ident, signal.SIGUSR1)
        else:
            show(failure)

    show, threading.excepthook = threading.excepthook, look
    before = signal.signal(signal.SIGUSR1, rouse)
    try:
        yield
    finally:
        threading.excepthook = show
        signal.signal(signal.SIGUSR1, before)
