"""How much of the encoders should train, on DFEW.

python -m mmadfer_jax.study configs/studies/encoders.py --workdir=runs/encoders [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study

_REST = (r".*", "trained")
_LAYERS = r"(image|audio)_encoder\.(patch_embed|blocks|norm)\..*"
_TOKENS = (r"(image|audio)_encoder\.(cls|dist)_token", "frozen")


def get_study() -> Study:
    """The study."""
    frozen = ((r"(image|audio)_encoder\..*", "frozen"), _REST)
    last = ((r"(image|audio)_encoder\.blocks\.(10|11)\..*", "trained"), (_LAYERS, "frozen"))
    return Study(
        says="What training more of the encoders adds",
        config="configs/dfew.py",
        arms=(
            Arm("positions", {}, "the paper's model: of the encoders the positions train"),
            Arm("frozen", {"freeze": frozen}, "nothing of the encoders trains"),
            Arm("last 2 layers", {"freeze": (*last, _TOKENS, _REST)}, "train beside the positions"),
            Arm("all", {"freeze": (_REST,)}, "the whole encoders train"),
            Arm("no drop path", {"model.drop_path": 0.0}, "as the first, without drop path"),
        ),
    )
