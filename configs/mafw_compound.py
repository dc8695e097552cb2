"""MMA-DFER on MAFW with compound labels (Liu et al., 2022): 8,996 clips, 43 classes, five folds.

    python main.py --config=configs/mafw_compound.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/mafw_compound_fold1

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/mafw_compound"
    config.model.num_classes = 43
    return config
