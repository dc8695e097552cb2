"""MMA-DFER on MER2023 (Lian et al., 2023): 3,373 labelled clips, 6 classes, five folds.

    python main.py --config=configs/mer2023.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/mer2023_fold1

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/mer2023"
    config.model.num_classes = 6
    return config
