"""KITTI's depth prediction benchmark with Swin-L.

diffdepth prepare --dataset=kitti_depth/depth_prediction --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/kitti_official.py

Scored on val_selection_cropped, without crop or cap, by the benchmark's metrics too. To submit:

python -m diffdepth_jax.main --config=configs/kitti_official.py \
    --config.data.records.eval_split=test --mode=submit --output=submission.zip

This recipe has not been run in full.
"""

from diffdepth_jax.configs import kitti


def get_config():
    config = kitti.get_config()
    config.data.records.name = "kitti_depth/depth_prediction"
    config.data.records.eval_split = "val_selection_cropped"
    config.frame.max_depth = 100.0
    config.evaluation.protocol = "kitti_official"
    return config
