import math
import re

import pytest

from tests.conftest import SMALL
from tests.programs import program_of
from tests.sizes import changed

# Every size of a frozen matrix is one that no other array has.
MODEL = changed(
    SMALL,
    depth=1,
    stages=1,
    temporal_depth=1,
    image_width=72,
    image_heads=2,
    image_mlp_dim=104,
    audio_width=88,
    audio_heads=2,
    audio_mlp_dim=136,
)
_CONSTANT = re.compile(r"stablehlo\.constant dense.*: tensor<((?:\d+x)*)\w+>")
_PRODUCT = re.compile(r"= \w+\[([\d,]*)\]\S* (?:dot|convolution|custom-call)\(")


def _products(label: str) -> list[tuple[int, ...]]:
    """Shapes that products of the compiled training step have, sizes rising.

    `label` is what the encoders are, "frozen" or "trained".
    """
    program = program_of(
        MODEL,
        change=lambda settings: settings.update(
            freeze=[(r".*_encoder\..*", label), (".*", "trained")]
        ),
    )
    text = program.lower_train(2).compile().as_text()
    shapes = [[int(n) for n in shape.split(",") if n] for shape in _PRODUCT.findall(text)]
    return [tuple(sorted(n for n in shape if n > 1)) for shape in shapes]


@pytest.fixture(scope="module")
def matrices():
    """Sizes of the encoders' matrices: q, k and v are three products, and so is their gradient."""
    shapes = {path: x.shape for path, x in program_of(MODEL).shapes.items()}
    kernels = [
        shape[1:] if path.endswith("qkv.kernel") else shape
        for path, shape in shapes.items()
        if re.fullmatch(r".*_encoder\..*\.kernel", path)
    ]
    return {tuple(sorted(n for n in shape if n > 1)) for shape in kernels}


def test_gradients_of_frozen_weights_are_not_computed(matrices):
    """The compiled step multiplies to the shape of a matrix only where it is trained."""
    assert (
        len(matrices) == 6
    )  # of each encoder: patches, D x D, and both of the MLP, which are alike
    assert matrices <= set(_products("trained"))
    assert not matrices & set(_products("frozen"))


@pytest.mark.parametrize("step", ["lower_train", "lower_eval"])
def test_no_large_constant_is_left_for_the_compiler_to_fold(step):
    """Weights are arguments: a patch embedding of constants took 33 s to compile."""
    text = getattr(program_of(MODEL), step)(2).as_text()
    sizes = [math.prod(map(int, shape.split("x")[:-1])) for shape in _CONSTANT.findall(text)]
    assert len(sizes) > 10
    assert max(sizes) <= 25  # the learning rates of 25 epochs; at full size it is the same
