"""What a config costs by measuring: steps on the devices at hand, and a first answer."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmadfer_jax.card import ModelCard
from mmadfer_jax.clips.clip import PrepareSettings
from mmadfer_jax.clips.frames import encode_jpeg
from mmadfer_jax.costing.timing import (
    Inference,
    Training,
    bytes_by_kind,
    compiled_bytes,
    seconds_of,
)
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.section import Section, table
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.program import Program
from mmadfer_jax.weights.model_files import save_model

PREDICTION, TRAINING, START = "prediction", "training", "start"
MEASURES = (PREDICTION, TRAINING, START)
_STEPS, _WARMUP = 10, 2
_ROOM = 0.9  # share of the free memory that a step may take
_FORMATS = {
    "median_ms": ",.1f",
    "clips_per_second": ",.2f",
    "tflops_per_second": ".3f",
    "processor_seconds": ",.2f",
}
_PATIENCE = 1800.0  # seconds for a first answer


def measure_step(
    program: Program, kind: str, batch: int, params: Mapping[str, np.ndarray], flops: int
) -> dict[str, Any]:
    """Times a step, and asks the compiler for its bytes.

    Args:
        program: Of the config.
        kind: `PREDICTION` or `TRAINING`.
        batch: Clips of a step.
        params: Every parameter, on the host.
        flops: Of a clip in such a step.

    Returns:
        "kind", "batch", "compile_seconds", "bytes" by kind; then "median_ms", "clips_per_second",
        "tflops_per_second" and "processor_seconds" of all threads for a step, or None for each and
        "why" where memory does not suffice.
    """
    work = (Inference if kind == PREDICTION else Training)(program, batch, params)
    found = {
        "kind": kind,
        "batch": batch,
        "compile_seconds": round(work.compile_seconds, 1),
        "bytes": bytes_by_kind(work.compiled),
        **dict.fromkeys(_FORMATS),
    }
    needed, free = compiled_bytes(work.compiled), free_bytes()
    if free is not None and needed > _ROOM * free:
        return found | {"why": f"needs {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB that are free"}
    start = time.process_time()
    seconds = seconds_of(work.step, _STEPS, _WARMUP)
    processor = (time.process_time() - start) / (len(seconds) + _WARMUP)
    median = float(np.median(seconds))
    return found | {
        "processor_seconds": round(processor, 3),
        "median_ms": round(1000 * median, 3),
        "clips_per_second": round(batch / median, 3),
        "tflops_per_second": round(flops * batch / median / 1e12, 3),
    }


def free_bytes() -> int | None:
    """Memory of the first device that is free; None where nothing tells."""
    if stats := jax.devices()[0].memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    memory = Path("/proc/meminfo")
    if jax.default_backend() != "cpu" or not memory.exists():
        return None
    lines = dict(line.split(":") for line in memory.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def first_answer(
    model: ModelConfig, params: Mapping[str, np.ndarray], clip: Path | None
) -> dict[str, Any]:
    """Seconds from the start of `predict`, a process of its own, to its first line.

    Args:
        model: The sizes.
        params: Every parameter, on the host.
        clip: A video. If not given, a folder of face crops is made, in which no faces are searched.

    Raises:
        UserError: There is no answer.
    """
    with tempfile.TemporaryDirectory(prefix="mmadfer_") as folder:
        file, shown = Path(folder, "model.safetensors"), clip or Path(folder, "crops")
        classes = tuple(f"class {i}" for i in range(1, model.num_classes + 1))
        prepared = PrepareSettings(image_size=model.image_size).to_dict()
        save_model(file, params, ModelCard(model, classes, prepared), layout="own")
        if clip is None:
            _write_crops(shown, model)
        command = [sys.executable, "-m", "mmadfer_jax.predict", str(shown)]
        command += [f"--checkpoint={file}", "--json"]
        start = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            line = process.stdout.readline()
            seconds = time.perf_counter() - start
            _, said = process.communicate(timeout=_PATIENCE)
    if process.returncode or not line:
        last = said.strip().splitlines()[-1:] or ["no reason given"]
        raise UserError(f"`predict` of {shown} failed: {last[0]}")
    return {"kind": START, "clip": str(clip or "face crops"), "seconds": round(seconds, 2)}


def _write_crops(folder: Path, model: ModelConfig) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    side = model.image_size
    for number in range(2 * model.num_frames):
        picture = rng.integers(0, 256, (side, side, 3), np.uint8)
        (folder / f"{number:03d}.jpg").write_bytes(encode_jpeg(picture, 90))


def measured_section(rows: list[dict[str, Any]]) -> Section:
    """The measured steps, and the first answer where it was measured."""
    steps = [row for row in rows if row["kind"] != START]
    lines = [
        (
            row["kind"],
            row["batch"],
            *_times(row),
            *(f"{row['bytes'][kind] / 1e9:.2f}" for kind in ("arguments", "temporaries")),
            f"{row['compile_seconds']:.1f}",
        )
        for row in steps
    ]
    header = ("step", "batch", "ms", "clips/s", "TFLOP/s", "processor, s", "arguments, GB")
    parts = [table((*header, "temporaries, GB", "compiling, s"), lines)] if steps else []
    if steps:
        parts.append(
            "ms is the median of a step; processor is the time of all threads of the host for one, "
            "which a busy machine changes less."
        )
    for row in rows:
        if "why" in row:
            parts.append(f"{row['kind']} at batch {row['batch']} {row['why']}.")
        if row["kind"] == START:
            parts.append(
                f"`predict` gave its first answer {row['seconds']:.1f} s after its start "
                f"(clip: {row['clip']})."
            )
    return Section("measured", "Measured here", rows, "\n\n".join(parts))


def _times(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        "-" if row[name] is None else format(row[name], style) for name, style in _FORMATS.items()
    )
