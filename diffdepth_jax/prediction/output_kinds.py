"""The kinds of output of a prediction, and what a command line may ask for."""

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of output: the ends of its files' names, and what is in them."""

    suffixes: tuple[str, ...]
    contents: str


KINDS = {
    "npy": Kind((".npy",), "float32 metres"),
    "npz": Kind((".npz",), "float32 metres, spread, interval and camera"),
    "png16": Kind((".png",), "16 bit, metres x depth_scale"),
    "tiff": Kind((".tiff",), "32-bit float metres"),
    "exr": Kind((".exr",), "32-bit float metres, channel Z"),
    "color": Kind(("_color.png",), "depth in colours, with a scale in metres"),
    "side_by_side": Kind(("_side_by_side.png",), "photo and depth"),
    "spread": Kind(("_spread.npy", "_spread.png"), "spread, metres; picture: % of depth"),
    "interval": Kind(("_low.npy", "_high.npy"), "ends of the interval, float32 metres"),
    "ply": Kind((".ply",), "points or a surface, metres"),
    "glb": Kind((".glb",), "points or a surface, metres"),
    "inverse_depth": Kind(("_inverse_depth.npy",), "of a relative model: float32 without unit"),
    "gif": Kind(("_trajectory.gif",), "the denoising, step by step"),
    "mp4": Kind(("_trajectory.mp4",), "the denoising, step by step"),
    "video": Kind(("_depth.mp4",), "of a video: photo and depth"),
}
DEFAULT = ("npy", "png16", "color")
# What a relative model can write, which knows no metres, and what it writes by default.
RELATIVE = ("inverse_depth", "color", "side_by_side", "video")
RELATIVE_DEFAULT = ("inverse_depth", "color")
FRAME = re.compile(r"^\d{6,}")  # with which the names of a frame's files begin
NEED_CAMERA = {"ply", "glb"}
NEED_TRAJECTORY = {"gif", "mp4"}
