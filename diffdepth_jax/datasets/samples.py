"""What flows from a source to the pipeline: one image with its ground truth."""

from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8

RGB = UInt8[np.ndarray, "height width 3"]
DepthMap = Float32[np.ndarray, "height width 1"]  # metres
MaskMap = Bool[np.ndarray, "height width 1"]  # True where there is ground truth
# The camera matrix in pixels; the first pixel has its centre at 0. float32 would lose 1e-4 pixels.
Intrinsics = Float64[np.ndarray, "3 3"]


class Sample(TypedDict):
    """A frame; where the mask is False depth may be anything, nan included.

    `orientation` is EXIF's, by which the stored pixels of the picture were turned. `dense_depth`,
    0 where there is none, is for scores at edges, if `depth` with its mask is sparse; training does
    not use it. `intrinsics` are missing where the camera is unknown. `surface` is True where it is
    known that there is a depth, measured or not, `hole` where it is known that there is none, as in
    the sky. Sources that know neither have neither.
    """

    image: RGB
    depth: DepthMap
    mask: MaskMap
    surface: NotRequired[MaskMap]
    hole: NotRequired[MaskMap]
    dense_depth: NotRequired[DepthMap]
    name: NotRequired[str]
    orientation: NotRequired[int]
    intrinsics: NotRequired[Intrinsics]


class EvaluationSample(TypedDict):
    """What the model sees of a frame, beside the frame and its ground truth at their own size.

    `image` is normalised, [H, W, 3], and padded at right and bottom; `content` is the (height,
    width) that is not padding. `focal_length` is that of `image` in pixels; 0: unknown. The others
    are the frame's.
    """

    image: Float32[np.ndarray, "_ _ 3"]
    content: Int[np.ndarray, " 2"]
    focal_length: float
    picture: RGB
    depth: DepthMap
    mask: MaskMap
    surface: NotRequired[MaskMap]
    hole: NotRequired[MaskMap]
    dense_depth: NotRequired[DepthMap]
    name: NotRequired[str]
    orientation: NotRequired[int]
    intrinsics: NotRequired[Intrinsics]


class Views(Protocol):
    """Random access to what training sees: image, depth and mask of one size."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


class Source(Protocol):
    """Random access to samples, from many threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...
