"""As released_swin.py, but a ResNet of 2, 2, 2, 2 basic blocks.

python -m diffdepth_jax.convert --checkpoint=res18.pt \
    --config=configs/released_res18.py --output=models/released_res18
"""

from diffdepth_jax.configs import released_swin


def get_config():
    config = released_swin.get_config()
    config.model.backbone = "resnet18"
    config.model.neck = "released"
    config.model.denoiser = "released_plain"
    return config
