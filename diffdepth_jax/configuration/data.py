"""The group `data`: one dataclass for each source of samples, see `groups`."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.values import (
    STRICT,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    UserPath,
    require,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Synthetic:
    """Rendered rooms and streets."""

    num_train: Annotated[int, Field(ge=2)]  # a room and a street
    num_eval: Count
    height: Count
    width: Count
    focal_range: tuple[float, float]
    eval_focal_range: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("focal_range", "eval_focal_range"):
            low, high = factors = getattr(self, name)
            rule = "(least, greatest) with 0.25 <= least <= greatest <= 4"
            require(0.25 <= low <= high <= 4, f"data.synthetic.{name}", factors, rule)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Folder:
    """RGB images with depth maps in a folder."""

    root: UserPath
    preset: str
    image_pattern: str
    depth_pattern: str
    mask_pattern: str
    list_file: UserPath
    eval_list_file: UserPath
    depth_root: str
    depth_list_file: UserPath
    eval_depth_list_file: UserPath
    depth_scale: Positive
    eight_bit_scale: NotNegative
    eight_bit_offset: float
    resize_depth: bool
    invalid_values: tuple[float, ...]
    depth_orientation: Literal["stored", "apply"]
    focal_length: NotNegative
    holdout_every: CountOrNone


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Records:
    """A dataset that `data.prepare` wrote."""

    name: str
    data_dir: UserPath
    train_split: str
    eval_split: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Where samples come from: `source` names the group that counts."""

    source: Literal["synthetic", "folder", "records"]
    missing_depth: Literal["unknown", "hole"]
    synthetic: Synthetic
    folder: Folder
    records: Records
