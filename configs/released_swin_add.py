"""As released_swin.py, but Swin-L without the HAHI neck.

python -m diffdepth_jax.convert --checkpoint=swinl_add.pt \
    --config=configs/released_swin_add.py --output=models/released_swin_add
"""

from diffdepth_jax.configs import released_swin


def get_config():
    config = released_swin.get_config()
    config.model.neck = "released"
    return config
