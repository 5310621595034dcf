"""The shipped model of rooms, `indoor_small`, fine-tuned on your own folder of RGB-D data.

diffdepth train --config=fine_tune --config.data.folder.root=DIR \
    --config.data.folder.image_pattern='image/*.jpg' \
    --config.data.folder.depth_pattern='depth/*.png'

It is for a dozen to a few thousand pairs of rooms. A batch may hold more images than the folder
has: some then come twice, each time augmented in another way. The table at the end has a row of
`indoor_small` itself on the same held-out pairs.

The metres of `indoor_small` hold for its own camera: 259.43 pixels of focal length at 240x320, a
horizontal field of view of 63 degrees. Fine-tuning learns the metres of yours. If you know it, set
frame.focal_length, in pixels at 240x320: then --fov and --camera=exif of `diffdepth predict` bring
metres to other cameras. For a folder of several cameras set frame.canonical_focal_length=259.43,
and data.folder.focal_length unless lists or EXIF say it (docs/own_data.md).
"""

from diffdepth_jax.configs import indoor_small


def get_config():
    config = indoor_small.get_config()
    config.train.initial_weights = "indoor_small"
    config.model.backbone_weights = ""  # the model brings its backbone
    config.frame.focal_length = 0.0  # not known: yours may be another camera
    config.train.batch_size = 4
    config.train.num_steps = 300
    config.train.evaluate_every = 100
    config.train.log_every = 10
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 2
    config.evaluation.protocol = "full"
    config.evaluation.flip_average = False  # as `diffdepth predict` does without a flag
    return config
