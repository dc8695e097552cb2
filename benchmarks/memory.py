"""What a training step keeps for its gradient, counted without a device.

    python benchmarks/memory.py --config=configs/default.py --batch=8

jax says which arrays the forward pass leaves for the backward pass; their bytes are added up for
each setting of `config.compute.remat`. While the gradient of a layer is computed, what that layer
leaves without rematerialisation is there as well; so "peak" adds that of one layer, and what is
there all the time: parameters, optimizer, gradients and the batch. A compiler may do with less
than counted, since it fuses and computes again what is cheap. With several devices the figures are
those of one that has `batch` clips and whole parameters.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
from jax.ad_checkpoint import print_saved_residuals

from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.costing.timing import program_of
from mmadfer_jax.models.compute import REMATS
from mmadfer_jax.models.params import apply_fn
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import bytes_held

_ARRAY = re.compile(r"^(\w+)\[([\d,]*)\] (.*)$", re.MULTILINE)
_BYTES = {"f32": 4, "bf16": 2, "i32": 4, "u32": 4, "bool": 1, "i8": 1, "u8": 1}


def kept(program: Program, batch: int) -> int:
    """Bytes that the forward pass leaves for the backward pass, parameters and inputs apart."""
    apply = apply_fn(program.model, program.compute)

    def total(trainable, frozen, frames, spectrogram, key):
        return apply({**frozen, **trainable}, frames, spectrogram, key).sum()

    shapes = program.abstract_batch(batch)
    frames = jax.ShapeDtypeStruct(shapes["frames"].shape, "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    parameters = program.abstract_trainable(), program.abstract_frozen()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        print_saved_residuals(total, *parameters, frames, shapes["spectrogram"], key)
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in sizes.split(",") if n)
        for kind, sizes, source in _ARRAY.findall(said.getvalue())
        if not source.startswith("from the argument") and kind in _BYTES
    )


def count(path: Path, batch: int) -> dict[str, Any]:
    """Gigabytes for each way of rematerialisation."""
    spec = importlib.util.spec_from_file_location("config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found, whole = {}, {}
    for remat in REMATS:
        config = module.get_config()
        config.compute.remat = remat
        program = program_of(config)
        whole[remat] = kept(program, batch)
        state, _ = bytes_held(program.abstract_state())
        arrays = program.abstract_frozen(), program.abstract_batch(batch)
        there = state + state // 3 + bytes_held(arrays)[0]  # the gradients are a third of the state
        layer = whole["none"] // program.model.depth
        found[remat] = {
            "kept": round(whole[remat] / 1e9, 2),
            "of one layer": round(layer / 1e9, 2),
            "there all the time": round(there / 1e9, 2),
            "peak": round((whole[remat] + there + (remat != "none") * layer) / 1e9, 2),
        }
    return {"config": str(path), "batch": batch, "gigabytes": found}


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, action="append", required=True)
    parser.add_argument("--batch", type=int, default=8, help="clips of one device")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    result = stamp("jax") | {"counts": [count(path, flags.batch) for path in flags.config]}
    print(json.dumps(result, indent=1))
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
