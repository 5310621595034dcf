"""A preset reads its data set as it lies; known depth comes back in metres."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.presets import PRESETS
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError

METRES = np.array([[1.0, 2.5, 4.0], [6.0, 8.0, 9.5]], np.float32)
FRAMES = range(4)


def picture(path, size=(2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)


def depth(path, scale, dtype=np.uint16, hole=None):
    """Writes METRES; the first pixel is the value `hole`, if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.round(METRES * scale).astype(dtype)
    if hole is not None:
        values[0, 0] = hole
    Image.fromarray(values).save(path)


def seven_scenes(root):
    for i in FRAMES:
        picture(root / f"seq-01/frame-{i:06d}.color.png")
        depth(root / f"seq-01/frame-{i:06d}.depth.png", 1000, hole=65535)


def densedepth(root):
    root.mkdir(exist_ok=True)
    for split, forms in (("train", ("jpg", 25.5, np.uint8)), ("test", ("png", 1000, np.uint16))):
        lines = []
        for i in FRAMES:
            names = f"data/nyu2_{split}/a/{i}.{forms[0]}", f"data/nyu2_{split}/a/{i}_depth.png"
            picture(root / names[0])
            depth(root / names[1], *forms[1:], hole=0)
            lines.append(",".join(names))
        (root / f"data/nyu2_{split}.csv").write_text("\n".join(lines))


def diode(root):
    mask = np.ones_like(METRES)
    mask[0, 0] = 0
    for i in FRAMES:
        stem = root / f"val/indoors/scene_00019/scan_00183/00019_00183_indoors_{i:03d}_010"
        picture(stem.with_name(f"{stem.name}.png"))
        np.save(f"{stem}_depth.npy", METRES[..., None])
        np.save(f"{stem}_depth_mask.npy", mask)


def kitti_bts(root):
    root.mkdir(exist_ok=True)
    for split, part in (("train", "train"), ("test", "val")):
        lines = []
        for i in FRAMES:
            drive = f"2011_09_26_drive_000{len(split)}_sync"
            image = f"2011_09_26/{drive}/image_02/data/{i:010d}.png"
            truth = f"{drive}/proj_depth/groundtruth/image_02/{i:010d}.png"
            picture(root / image)
            depth(root / f"data_depth_annotated/{part}/{truth}", 256, hole=0)
            lines.append(f"{image} {truth} 721.5377")
        (root / f"eigen_{split}_files_with_gt.txt").write_text("\n".join([*lines, "x.png None 7"]))


def scannet(root):
    for i in FRAMES:
        picture(root / f"scene0000_00/color/{i}.jpg", (4, 6))
        depth(root / f"scene0000_00/depth/{i}.png", 1000, hole=0)


def tum(root):
    root.mkdir(exist_ok=True)
    lines = {"rgb": [], "depth": []}
    for i in FRAMES:
        picture(root / f"rgb/{i}.175304.png")
        depth(root / f"depth/{i}.160407.png", 5000, hole=0)
        lines["rgb"].append(f"{i}.175304 rgb/{i}.175304.png")
        lines["depth"].append(f"{i}.160407 depth/{i}.160407.png")
    for name, own in lines.items():
        (root / f"{name}.txt").write_text("\n".join(["# timestamp filename", *own]))


def vkitti2(root):
    for i in FRAMES:
        picture(root / f"Scene01/clone/frames/rgb/Camera_0/rgb_{i:05d}.jpg")
        depth(root / f"Scene01/clone/frames/depth/Camera_0/depth_{i:05d}.png", 100, hole=65535)


WRITERS = {
    "7scenes": seven_scenes,
    "densedepth": densedepth,
    "diode": diode,
    "kitti_bts": kitti_bts,
    "scannet": scannet,
    "tum": tum,
    "vkitti2": vkitti2,
}
STEPS = {"densedepth": 1 / 25.5, "kitti_bts": 1 / 256, "vkitti2": 1 / 100}  # metres; else 1 mm


def fields(root, preset, **changes):
    config = default.get_config()
    config.data.folder.update(root=str(root), preset=preset, holdout_every=2, **changes)
    return groups.read(config).data


@pytest.mark.parametrize("preset", PRESETS)
def test_known_depth_comes_back(tmp_path, preset):
    WRITERS[preset](tmp_path)
    train, sets = create_sources(fields(tmp_path, preset), seed=0)
    evaluation = sets["eval"][1]
    assert len(train) + len(evaluation) == (8 if PRESETS[preset].get("eval_list_file") else 4)
    for source in (train, evaluation):
        for sample in source:
            factor = sample["image"].shape[0] // 2
            truth = np.kron(METRES, np.ones((factor, factor)))
            valid = sample["mask"][..., 0]
            assert not valid[:factor, :factor].any() and valid.sum() == 5 * factor**2
            error = np.abs(sample["depth"][..., 0] - truth)[valid]
            assert error.max() <= STEPS.get(preset, 1e-3) / 2 + 1e-6


def test_a_field_that_is_set_goes_before_the_presets(tmp_path):
    tum(tmp_path)
    train, _ = create_sources(fields(tmp_path, "tum", depth_scale=2500.0), seed=0)
    assert train[0]["depth"].max() == pytest.approx(2 * METRES.max(), rel=1e-3)


def test_an_unknown_preset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"data\.folder\.preset 'tumm': must be one of 7scenes"):
        create_sources(fields(tmp_path, "tumm"), seed=0)


def test_a_preset_on_other_data_names_what_is_missing(tmp_path):
    scannet(tmp_path)
    with pytest.raises(UserError, match=r"rgb\.txt"):
        create_sources(fields(tmp_path, "tum"), seed=0)
