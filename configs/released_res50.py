"""As released_swin.py, but a ResNet of 3, 4, 6, 3 basic blocks.

python -m diffdepth_jax.convert --checkpoint=res50_model_00030.pt \
    --config=configs/released_res50.py --output=models/released_res50
"""

from diffdepth_jax.configs import released_swin


def get_config():
    config = released_swin.get_config()
    config.model.backbone = "resnet50"
    config.model.neck = "released"
    config.model.denoiser = "released_plain"
    return config
