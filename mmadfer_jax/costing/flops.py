"""FLOPs of a program's steps by the parts of the model, read from what jax traces.

Those of matrix products and convolutions are counted, two for each multiply-add, with every
setting of the model, the freeze rules and the augmentation as they are. XLA's own count has
additions and activations too, a thirtieth more at the paper's size.
"""

import math
import re
from collections import Counter

import jax
from jax.extend.core import Jaxpr, jaxprs_in_params

from mmadfer_jax.training.program import Program

PARTS = {
    "image_encoder": "picture encoder",
    "audio_encoder": "sound encoder",
    "fusion": "fusion",
    "temporal": "temporal transformer",
    "head": "projection and classifier",
    "": "cutting and resizing frames",
}
# How it is computed must not change what is counted.
_PLAIN = {"attention": "xla", "products": "bfloat16", "remat": "none", "layers": "loop"}
_SCOPE = re.compile("|".join(name for name in PARTS if name))


def part_of(path: str) -> str:
    """The part that a parameter belongs to, a key of `PARTS`."""
    first = path.split(".")[0]
    return first if first in PARTS else "head"


def flops_by_part(program: Program, *, training: bool, side: int | None = None) -> dict[str, int]:
    """FLOPs of one clip by keys of `PARTS`; nothing is compiled or computed.

    Args:
        program: Of the config.
        training: A training step's, or an evaluation's.
        side: Of the stored frames in pixels; the model's if not given.
    """
    plain = Program(program.config | {"compute": _PLAIN}, program.mesh)
    clips = plain.mesh.size  # fewer cannot be split
    arguments = plain.abstract_frozen(), plain.abstract_batch(clips, side)
    if training:
        key = jax.eval_shape(lambda: jax.random.key(0))
        step, arguments = plain._train_step, (plain.abstract_state(), *arguments, key)
    else:
        step, arguments = plain._eval_step, (plain.abstract_trainable(), *arguments)
    counted = Counter(dict.fromkeys(PARTS, 0))
    count_products(jax.make_jaxpr(step)(*arguments).jaxpr, counted)
    return {part: flops // clips for part, flops in counted.items()}


def count_products(jaxpr: Jaxpr, counted: Counter[str], part: str = "") -> None:
    """Adds the FLOPs of all products in a jaxpr and in those inside it to the part of each.

    Args:
        jaxpr: Of a function; one with loops would need their lengths.
        counted: FLOPs by keys of `PARTS`.
        part: That to which counts what no scope gives to another.
    """
    for equation in jaxpr.eqns:
        names = _SCOPE.findall(str(equation.source_info.name_stack))
        own = names[-1] if names else part
        counted[own] += _flops(equation)
        for inner in jaxprs_in_params(equation.params):
            count_products(inner, counted, own)


def _flops(equation: jax.extend.core.JaxprEqn) -> int:
    name = equation.primitive.name
    if name not in ("dot_general", "conv_general_dilated"):
        return 0
    left, right = (x.aval.shape for x in equation.invars)
    out = math.prod(equation.outvars[0].aval.shape)
    numbers = equation.params["dimension_numbers"]
    if name == "dot_general":
        (contracted, _), _ = numbers
        return 2 * out * math.prod(left[axis] for axis in contracted)
    return 2 * out * math.prod(right) // right[numbers.rhs_spec[0]]
