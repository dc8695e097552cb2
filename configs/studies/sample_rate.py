"""What resampled sound costs, on DFEW prepared twice: as it is, and with --sample_rate=16000.

python -m mmadfer_jax.study configs/studies/sample_rate.py --workdir=runs/sample_rate [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    return Study(
        says="What the rate of the sound does",
        config="configs/dfew.py",
        arms=(
            Arm("own rate", {}, "data/dfew, sound at the rate of each clip"),
            Arm("16 kHz", {"data.dir": "data/dfew_16k"}, "the same clips, resampled"),
        ),
    )
