"""MMA-DFER on MAFW (Liu et al., 2022): 9,172 single-labelled clips, 11 classes, five folds.

    python main.py --config=configs/mafw.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/mafw_fold1

Published (mean of five folds): UAR 44.11, WAR 58.52. Not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on MAFW."""
    config = default.get_config()
    config.data.dir = "data/mafw"
    return config
