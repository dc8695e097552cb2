"""How many prompts there should be, where, and how often they are renewed, on DFEW.

python -m mmadfer_jax.study configs/studies/prompts.py --workdir=runs/prompts [--folds=1]
"""

from mmadfer_jax.studies.plan import Arm, Study


def get_study() -> Study:
    """The study."""
    return Study(
        says="What the prompts add, by number, place and renewal",
        config="configs/dfew.py",
        arms=(
            Arm("3 prompts 2 stages", {}, "the paper's model"),
            Arm("none", {"model.prompts": 0}, "no prompt tokens"),
            Arm("input only", {"model.stages": 0}, "3 tokens, never renewed"),
            Arm("1 stage", {"model.stages": 1}, "3 tokens, given at the input and renewed once"),
            Arm("3 stages", {"model.stages": 3}, "renewed every 4 layers"),
            Arm("6 stages", {"model.stages": 6}, "renewed every 2 layers"),
            Arm("1 prompt", {"model.prompts": 1}, "a stage"),
            Arm("6 prompts", {"model.prompts": 6}, "a stage"),
            Arm("12 prompts", {"model.prompts": 12}, "a stage"),
            Arm("picture only", {"model.prompted": "image"}, "none for the sound"),
            Arm("sound only", {"model.prompted": "audio"}, "none for the frames"),
        ),
    )
