"""What augmentation, size and order of the frames, and missing sound do, on DFEW.

python -m mmadfer_jax.study configs/studies/data.py --workdir=runs/data [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    plain = {"augment.area": None, "augment.flip": 0.0, "augment.brightness": (1.0, 1.0)}
    return Study(
        says="What becomes of other data and augmentation",
        config="configs/dfew.py",
        arms=(
            Arm("paper", {}, "crops, flips, brightness; 224 pixels; frames in order of time"),
            Arm("no augmentation", plain, "frames as they are stored"),
            Arm("no crops", {"augment.area": None}, "flips and brightness alone"),
            Arm("mild crops", {"augment.area": (0.5, 1.0)}, "half of the picture or more"),
            Arm("no flips", {"augment.flip": 0.0}, "crops and brightness alone"),
            Arm("no brightness", {"augment.brightness": (1.0, 1.0)}, "crops and flips alone"),
            Arm("160 pixels", {"model.image.shape": (160, 160)}, "frames made smaller"),
            Arm("text order", {"data.frame_order": "text"}, "frames 0, 1, 10, 100, as by name"),
            Arm("shuffled", {"data.frame_order": "shuffled"}, "frames in a random order"),
            Arm("mean for silence", {"data.missing_sound": "mean"}, "in place of zeros"),
        ),
    )
