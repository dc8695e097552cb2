"""Writes the shards of a preparation as an Apache Beam pipeline: on one machine or on many."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from upath import UPath

from data_prep import run, worker
from data_prep.plan import Shard
from mmadfer_jax.data import storage
from mmadfer_jax.data.clip import PrepareSettings
from mmadfer_jax.errors import UserError


class _WriteShard(beam.DoFn):
    """Prepares the clips of a shard one after the other and writes it, as the local pool does."""

    def __init__(self, out: str, name: str, settings: PrepareSettings):
        self._out, self._name, self._settings = out, name, settings

    def process(self, shard: Shard) -> Iterator[int]:
        """Yields the number of clips done."""
        worker.load(self._settings)
        ready = map(worker.prepare, shard.clips)
        run.write_shard(storage.place(self._out), self._name, shard, ready)
        yield len(shard.clips)


def write_shards(
    todo: Sequence[Shard],
    out: Path | UPath,
    name: str,
    settings: PrepareSettings,
    options: Sequence[str],
) -> None:
    """Runs the pipeline, a shard an element, so that no picture travels between machines.

    Args:
        todo: The shards.
        out: The dataset's folder, one that all machines see.
        name: Of the dataset.
        settings: How clips are prepared.
        options: Beam's own, such as `--runner=DataflowRunner`; DirectRunner without any.

    Raises:
        UserError: The pipeline failed. Finished shards are kept.
    """
    try:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(todo))
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(_WriteShard(str(out), name, settings))
            )
    except Exception as error:  # Beam wraps what a worker raised, differently in every runner
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        raise UserError(
            f"the Beam pipeline failed: {lines[-1].strip()}; finished shards are kept, the same "
            "command goes on from there"
        ) from error
