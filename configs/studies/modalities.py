"""What sound and picture each tell, on DFEW.

python -m mmadfer_jax.study configs/studies/modalities.py --workdir=runs/modalities [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    return Study(
        says="What each modality adds",
        config="configs/dfew.py",
        arms=(
            Arm("both", {}, "the paper's model"),
            Arm("picture alone", {"model.modalities": "image"}, "the sound is ignored"),
            Arm("sound alone", {"model.modalities": "audio"}, "the frames are ignored"),
            Arm("late addition", {"model.fusion": "none"}, "both, which meet at the end alone"),
        ),
    )
