"""As released_swin.py, but a ResNet of 3, 4, 23, 3 basic blocks.

python -m diffdepth_jax.convert --checkpoint=res101.pt \
    --config=configs/released_res101.py --output=models/released_res101
"""

from diffdepth_jax.configs import released_swin


def get_config():
    config = released_swin.get_config()
    config.model.backbone = "resnet101"
    config.model.neck = "released"
    config.model.denoiser = "released_plain"
    return config
