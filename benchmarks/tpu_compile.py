"""Compiles the real step for TPUs that are not there, and says what it needs.

    pip install -r requirements-tpu.txt
    python benchmarks/tpu_compile.py --topology=v5e:2x4 --batch=64

Prints one line of JSON: per chip the bytes of arguments, outputs and temporaries and whether they
fit, FLOPs, bytes moved, collectives, a roofline, and the seconds to compile. Runs on a CPU.
"""

import argparse
import dataclasses
import json
import math
import os
import re
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
from flops import flops_a_clip, once_a_step, parts
from jax.experimental import topologies

from configs import dfew
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.models.compute import LAYERS, REMATS
from mmadfer_jax.models.config import DTYPES, ModelConfig
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import count, split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.settings import plain
from mmadfer_jax.training.sharding import make_mesh

# By chip: peak bfloat16 FLOP/s, bytes/s of HBM, bytes of HBM. Google Cloud's pages of each
# ("TPU v5e", "TPU v5p", "TPU v6e", read in November 2026).
CHIPS = {
    "v5e": (197e12, 819e9, 16e9),
    "v5p": (459e12, 2765e9, 95e9),
    "v6e": (918e12, 1638e9, 32e9),
}
# libtpu looks for no TPU, and two compilers may run at once.
_NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
LARGE = {"width": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096}  # ViT-L

_BITS = {"pred": 8, "s8": 8, "u8": 8, "bf16": 16, "f16": 16, "s32": 32, "u32": 32, "f32": 32}
_COLLECTIVE = re.compile(
    r"^\s*(?:ROOT )?\S+ = (?P<type>.*?) "
    r"(?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16)\[([\d,]*)\]")


def collectives(hlo: str) -> dict[str, dict[str, int]]:
    """Count, and bytes of the results on a chip, of each kind in a compiled program's text.

    What stands in the body of a loop is counted once.
    """
    found: dict[str, dict[str, int]] = {}
    for line in hlo.splitlines():
        if match := _COLLECTIVE.match(line):
            kind = found.setdefault(match["kind"], {"count": 0, "bytes": 0})
            kind["count"] += 1
            for name, shape in _ARRAY.findall(match["type"]):
                values = math.prod(int(size) for size in shape.split(",") if size)
                kind["bytes"] += values * _BITS[name] // 8
    return found


def processor_seconds() -> float:
    """Of this process so far, all its threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def program_for(arguments: argparse.Namespace) -> Program:
    """The program of the command line on the devices of its topology."""
    jax.config.update("jax_platforms", "cpu")
    for name, value in _NO_TPU.items():
        os.environ.setdefault(name, value)
    slices = {} if arguments.slices == 1 else {"num_slices": arguments.slices}
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=arguments.topology, **slices
    )
    config = dfew.get_config()
    config.model.update({"dtype": arguments.dtype, "num_frames": arguments.frames})
    config.compute.update({"remat": arguments.remat, "layers": arguments.layers})
    if arguments.model == "large":
        for encoder in (config.model.image, config.model.audio):
            encoder.update(LARGE)
    mesh = make_mesh(fsdp=arguments.fsdp, tensor=arguments.tensor, devices=topology.devices)
    settings = plain(config)
    settings["model"] = ModelConfig.from_dict(settings["model"]).to_dict()
    settings["train"] |= dataclasses.asdict(Epochs(settings["train"]["epochs"], 1000))
    return Program(settings, mesh)


def roofline(program: Program, arguments: argparse.Namespace) -> dict[str, object]:
    """The least time of a step by the FLOPs and bytes of `flops.py` and the chip's peaks.

    Neither what is computed again nor what chips exchange is in it.
    """
    flops_s, bytes_s, _ = CHIPS[arguments.topology.split(":")[0]]
    clips, training = arguments.batch / program.mesh.size, not arguments.eval
    needed = clips * flops_a_clip(program.model, training=training)
    seconds = clips * sum(
        cost.seconds(training, flops_s, bytes_s) for cost in parts(program.model).values()
    )
    if training:
        trained, frozen = (count(x) for x in split(program.shapes, program.labels))
        seconds += sum(
            cost.seconds(training, flops_s, bytes_s)
            for cost in once_a_step(trained, frozen).values()
        )
    return {
        "model_flops": int(needed),
        "roofline_ms": round(1000 * seconds, 2),
        "roofline_mfu": round(needed / flops_s / seconds, 3),
    }


def measure(program: Program, arguments: argparse.Namespace) -> dict[str, object]:
    """Compiles the step; the numbers of the JSON line."""
    lower = program.lower_eval if arguments.eval else program.lower_train
    lowered, wall, processor = lower(arguments.batch), time.perf_counter(), processor_seconds()
    options = {}
    if arguments.effort:
        options["exec_time_optimization_effort"] = arguments.effort
    compiled = lowered.compile(compiler_options=options)
    wall, processor = time.perf_counter() - wall, processor_seconds() - processor
    *_, capacity = CHIPS[arguments.topology.split(":")[0]]
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    loops = arguments.layers == "loop"
    size = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return {
        "chips": program.mesh.size,
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "fits": size < capacity,
        # The compiler counts the body of a loop once.
        "flops": int(cost["flops"]) if loops else None,
        "bytes_moved": int(cost["bytes accessed"]) if loops else None,
        "collectives": collectives(compiled.as_text()),
        **roofline(program, arguments),
        "compile_seconds": round(wall, 1),
        "compile_processor_seconds": round(processor, 1),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="v5e:2x4", help="CHIP:SHAPE, such as v5e:16x16")
    parser.add_argument("--slices", type=int, default=1, help="of that topology")
    parser.add_argument("--batch", type=int, default=64, help="clips, on all chips together")
    parser.add_argument("--model", choices=("base", "large"), default="base")
    parser.add_argument("--frames", type=int, default=16, help="of a clip that the model sees")
    parser.add_argument("--fsdp", type=int, default=1, help="size of the mesh axis")
    parser.add_argument("--tensor", type=int, default=1, help="size of the mesh axis")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    compute = dfew.get_config().compute
    parser.add_argument("--remat", choices=REMATS, default=compute.remat)
    parser.add_argument("--layers", choices=LAYERS, default=compute.layers)
    parser.add_argument("--effort", type=float, default=0.0, help="of the compiler, -1 to 1")
    parser.add_argument("--eval", action="store_true", help="the evaluation step")
    arguments = parser.parse_args()
    if arguments.topology.split(":")[0] not in CHIPS:
        parser.error(f"--topology={arguments.topology}: expected one of {', '.join(CHIPS)}, ':'")
    settings = {name: value for name, value in vars(arguments).items() if name != "eval"}
    line = {
        "benchmark": "tpu_compile",
        "step": "eval" if arguments.eval else "train",
        **settings,
        **measure(program_for(arguments), arguments),
        **stamp("jax", "jaxlib", "libtpu", "flax", "optax"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
