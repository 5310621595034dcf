"""As released_swin.py, but MPViT-S and the HAHI neck.

python -m diffdepth_jax.convert --checkpoint=mpvit_model_00037.pt \
    --config=configs/released_mpvit.py --output=models/released_mpvit
"""

from diffdepth_jax.configs import released_swin


def get_config():
    config = released_swin.get_config()
    config.model.backbone = "mpvit_small"
    config.model.drop_path_rate = 0.2
    return config
