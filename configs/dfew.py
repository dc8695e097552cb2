"""MMA-DFER on DFEW (Jiang et al., 2020): 11,697 single-labelled clips, 7 classes, five folds.

    python main.py --config=configs/dfew.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/dfew_fold1

Published (mean of five folds): UAR 67.01, WAR 77.51. Not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on DFEW."""
    config = default.get_config()
    config.data.dir = "data/dfew"
    return config
