"""In which direction, at which layers and how widely the encoders should be fused, on DFEW.

python -m mmadfer_jax.study configs/studies/fusion.py --workdir=runs/fusion [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def _layers(*numbers: int) -> dict[str, tuple[int, ...]]:
    return {"model.fusion_layers": numbers}


def get_study() -> Study:
    """The study."""
    return Study(
        says="What the fusion adds, by direction, layers, width and pooling",
        config="configs/dfew.py",
        arms=(
            Arm("both ways", {}, "the paper's model: after each of 12 layers, width 128, means"),
            Arm("off", {"model.fusion": "none"}, "the encoders' features are added at the end"),
            Arm("to picture", {"model.fusion": "to_image"}, "sound is told to the frames"),
            Arm("to sound", {"model.fusion": "to_audio"}, "frames are told to the sound"),
            Arm("first 6 layers", _layers(*range(6)), "fused early"),
            Arm("last 6 layers", _layers(*range(6, 12)), "fused late"),
            Arm("every 3rd layer", _layers(2, 5, 8, 11), "fused 4 times"),
            Arm("last layer", _layers(11), "fused once"),
            Arm("width 32", {"model.bottleneck": 32}, "a narrower bottleneck"),
            Arm("width 512", {"model.bottleneck": 512}, "a wider bottleneck"),
            Arm("attention", {"model.fusion_pooling": "attention"}, "a learned mean of the tokens"),
        ),
    )
