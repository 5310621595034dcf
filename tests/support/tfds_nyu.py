"""A small `nyu_depth_v2` as TFDS's own builder writes it, without its download."""

import io

import numpy as np
from tensorflow_datasets.datasets.nyu_depth_v2 import nyu_depth_v2_dataset_builder

from tests.support.raw_datasets import png_bytes

NUM_FRAMES = {"train": 3, "validation": 2}


def write(data_dir):
    """Frame i is grey level i at i + 1.25 metres, and has no measurement at (0, 0)."""
    _Nyu(data_dir=str(data_dir)).download_and_prepare(file_format="array_record")


class _Nyu(nyu_depth_v2_dataset_builder.Builder, skip_registration=True):
    """TFDS's own builder with its features."""

    name = "nyu_depth_v2"
    pkg_dir_path = nyu_depth_v2_dataset_builder.Builder._get_pkg_dir_path()

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in NUM_FRAMES.items()}

    def _generate_examples(self, count):
        for index in range(count):
            image, depth = _frame(index)
            yield f"frame{index}", {"image": io.BytesIO(image), "depth": depth}


def _frame(index):
    """(PNG file, depth float16 [480, 640])."""
    image = np.full((480, 640, 3), index, np.uint8)
    depth = np.full((480, 640), index + 1.25, np.float16)
    depth[0, 0] = 0
    return png_bytes(image), depth
