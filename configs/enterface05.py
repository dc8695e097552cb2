"""MMA-DFER on eNTERFACE'05 (Martin et al., 2006): 44 subjects, 6 classes, five folds by subject.

    python main.py --config=configs/enterface05.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/enterface05_fold1

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/enterface05"
    config.model.num_classes = 6
    return config
