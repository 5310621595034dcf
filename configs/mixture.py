"""Several sources in one training run: rooms and streets as two parts, each scored by itself.

python -m diffdepth_jax.main --config=configs/mixture.py

Rendered, so that it runs without a download. docs/mixtures.md replaces the parts by others.
"""

from diffdepth_jax.configs import default, synthetic


def get_config():
    config = synthetic.get_config()
    rooms, streets = default.get_part(), default.get_part()
    rooms.source = streets.source = "synthetic"
    rooms.synthetic.update(kind="rooms", num_train=5000)
    rooms.weight = 2.0
    rooms.max_depth = 10.0
    streets.synthetic.update(kind="streets", num_train=5000)
    streets.max_depth = 80.0
    streets.protocol = "kitti_garg_full"
    config.data.source = "mixture"
    config.data.mixture.rooms, config.data.mixture.streets = rooms, streets
    return config
