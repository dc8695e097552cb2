"""What each part of the model adds, on DFEW: prompts, fusion, the temporal transformer, modalities.

python -m mmadfer_jax.study configs/studies/parts.py --workdir=runs/parts [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study

_PROMPTS, _FUSION = {"model.prompts": 0}, {"model.fusion": "none"}
_TEMPORAL = {"model.temporal_depth": 0}


def get_study() -> Study:
    """The study."""
    return Study(
        says="What each part of the model adds",
        config="configs/dfew.py",
        arms=(
            Arm("full", {}, "the paper's model"),
            Arm("no prompts", _PROMPTS, "no prompt tokens"),
            Arm("no fusion", _FUSION, "the encoders' features are added at the end, nothing else"),
            Arm("no temporal", _TEMPORAL, "the mean of the frames' features, whatever their order"),
            Arm("no prompts no fusion", _PROMPTS | _FUSION, "both taken away"),
            Arm("none of them", _PROMPTS | _FUSION | _TEMPORAL, "two encoders and a classifier"),
            Arm("picture alone", {"model.modalities": "image"}, "the sound is ignored"),
            Arm("sound alone", {"model.modalities": "audio"}, "the frames are ignored"),
        ),
    )
