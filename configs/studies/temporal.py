"""What the temporal transformer and the number of frames bring, on DFEW.

python -m mmadfer_jax.study configs/studies/temporal.py --workdir=runs/temporal [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    return Study(
        says="What the temporal transformer adds, by depth and number of frames",
        config="configs/dfew.py",
        arms=(
            Arm("1 layer 16 frames", {}, "the paper's model"),
            Arm("mean", {"model.temporal_depth": 0}, "of the frames' features, without order"),
            Arm("shuffled", {"data.frame_order": "shuffled"}, "frames in a random order"),
            Arm("2 layers", {"model.temporal_depth": 2}, "on 16 frames"),
            Arm("3 layers", {"model.temporal_depth": 3}, "on 16 frames"),
            Arm("4 frames", {"model.num_frames": 4}, "of a clip"),
            Arm("8 frames", {"model.num_frames": 8}, "of a clip"),
            Arm("32 frames", {"model.num_frames": 32}, "of a clip"),
        ),
    )
