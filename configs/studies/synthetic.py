"""What each arm loses on synthetic faces, of which is known what tells their classes apart.

    python -m data_prep --dataset=synthetic --pair --clips=1210 --out=demo/pair \
        --image_size=48 --sample_rate=16000 --detect_every=6 --min_face=80
    python -m mmadfer_jax.study configs/studies/synthetic.py --workdir=runs/synthetic \
        --config.data.dir=demo/pair

Surprise and Fear differ in sound alone, Angry and Disgust in the picture alone, Happy and Neutral
in the order of frames alone; Congruent and Incongruent in which picture goes with which sound. An
arm that cannot see what tells a group apart has a recall near 50 % there, and keeps the others.
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    return Study(
        says="What each part of the model tells, where the answer is known",
        config="configs/demo.py",
        arms=(
            Arm("full", {}, "the model of the demo"),
            Arm("no sound", {"model.modalities": "image"}, "must lose what sound tells"),
            Arm("no picture", {"model.modalities": "audio"}, "must lose what pictures tell"),
            Arm("no order", {"model.temporal_depth": 0}, "must lose what the order tells"),
            Arm("shuffled", {"data.frame_order": "shuffled"}, "must lose what the order tells"),
            Arm("late addition", {"model.fusion": "none"}, "no fusion inside the layers"),
            Arm(
                "sum alone",
                {"model.fusion": "none", "model.temporal_depth": 0},
                "a linear head on the sum: cannot tell what both tell, nor the order",
            ),
            Arm("fusion to picture", {"model.fusion": "to_image"}, "sound is told to the frames"),
            Arm("fusion to sound", {"model.fusion": "to_audio"}, "frames are told to the sound"),
            Arm("no prompts", {"model.prompts": 0}, "no prompt tokens"),
        ),
        seeds=(0, 1, 2),
        groups={
            "sound": ("Surprise", "Fear"),
            "picture": ("Angry", "Disgust"),
            "order": ("Happy", "Neutral"),
            "both": ("Congruent", "Incongruent"),
        },
    )
