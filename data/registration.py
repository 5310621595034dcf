"""Do pictures and depth maps show the same at the same pixel? Edges of both should coincide."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from diffdepth_jax.datasets.samples import Sample

Map = Float[np.ndarray, "height width"]

_SIDE = 160  # pixels of the longer side at which edges are compared
_REACH = 0.12  # of the longer side: how far a depth map is moved
# A correlation of less says nothing. Of real rooms it was .30 to .40 where pairs fit, and at most
# .15 with the depth mirrored or turned.
_LEAST = 0.2
_BETTER = 1.3  # times the correlation of the maps as they lie
_STRONGEST = 95  # percentile to which edges are cut, so that a few do not decide

Turn = Callable[[Map], Map]
_TURNS: dict[str, Turn] = {
    "": lambda x: x,
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned by 180 degrees": np.flip,
}


def misplacement(samples: Sequence[Sample]) -> str:
    """How depth lies against its pictures, such as "mirrored"; "" if it fits or cannot be told.

    The samples have one size. Sparse depth has no edges and tells nothing.
    """
    pairs = [_edges_of_pair(sample) for sample in samples]
    height, width = samples[0]["mask"].shape[:2]
    step = max(1.0, max(height, width) / _SIDE)
    peaks = {name: _peak(pairs, turn) for name, turn in _TURNS.items()}
    name, (best, down, right, _) = max(peaks.items(), key=lambda item: item[1][0])
    if best < max(_LEAST, _BETTER * peaks[""][3]):
        return ""
    if name:
        return f"{name} against the pictures"
    # The peak says where depth must go.
    words = _words(-down * step, "down", "up") + _words(-right * step, "right", "left")
    return f"shifted against the pictures, about {' and '.join(words)}"


def _words(pixels: float, positive: str, negative: str) -> list[str]:
    return [f"{abs(pixels):.0f} pixels {positive if pixels > 0 else negative}"] if pixels else []


def _edges_of_pair(sample: Sample) -> tuple[Map, Map]:
    """The edges of the picture and of the depth, each with a mean of 0 and a norm of 1."""
    picture = _shrunk(sample["image"].mean(-1, dtype=np.float32), Image.Resampling.BOX)
    depth, mask = sample["depth"][..., 0], sample["mask"][..., 0]
    log_depth = np.where(mask, np.log(np.where(mask, depth, 1)), np.nan).astype(np.float32)
    return _edges(picture), _edges(_shrunk(log_depth, Image.Resampling.NEAREST))


def _shrunk(values: Map, rule: Image.Resampling) -> Map:
    height, width = values.shape
    factor = min(1.0, _SIDE / max(height, width))
    size = max(2, round(width * factor)), max(2, round(height * factor))
    return np.asarray(Image.fromarray(values).resize(size, rule))


def _edges(values: Map) -> Map:
    edges = np.nan_to_num(np.hypot(*np.gradient(values)))  # beside a hole there is none
    edges = np.minimum(edges, np.percentile(edges, _STRONGEST))
    edges = edges - edges.mean()
    norm = np.linalg.norm(edges)
    return edges / norm if norm else edges


def _peak(pairs: Sequence[tuple[Map, Map]], turn: Turn) -> tuple[float, int, int, float]:
    """(highest correlation, rows down, columns right where it is, correlation in place)."""
    products = [
        np.fft.fft2(picture) * np.conj(np.fft.fft2(turn(depth))) for picture, depth in pairs
    ]
    surface = np.fft.fftshift(np.fft.ifft2(np.mean(products, axis=0)).real)
    middle, reach = np.array(surface.shape) // 2, int(_REACH * max(surface.shape))
    rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in middle)
    window = surface[rows, columns]
    row, column = np.unravel_index(window.argmax(), window.shape)
    down, right = row + rows.start - middle[0], column + columns.start - middle[1]
    return float(window.max()), int(down), int(right), float(surface[tuple(middle)])
