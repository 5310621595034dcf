"""The group `data`: one dataclass for each source of samples, see `groups`."""

import contextlib
import re
from collections.abc import Generator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.model import Frame
from diffdepth_jax.configuration.values import (
    STRICT,
    Count,
    CountOrNone,
    Flag,
    NotNegative,
    Number,
    Positive,
    Text,
    UserPath,
    require,
)
from diffdepth_jax.errors import UserError

Origin = Literal["synthetic", "folder", "records"]


def _checked_range(factors: tuple[float, float]) -> tuple[float, float]:
    if not 0.25 <= factors[0] <= factors[1] <= 4:
        raise ValueError("(least, greatest) with 0.25 <= least <= greatest <= 4")
    return factors


FocalRange = Annotated[tuple[Number, Number], AfterValidator(_checked_range)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Synthetic:
    """Rendered rooms and streets."""

    kind: Literal["mixed", "rooms", "streets"]
    num_train: Annotated[int, Field(strict=True, ge=2)]  # a room and a street
    num_eval: Count
    height: Count
    width: Count
    focal_range: FocalRange
    eval_focal_range: FocalRange


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Folder:
    """RGB images with depth maps in a folder."""

    root: UserPath
    preset: Text
    image_pattern: Text
    depth_pattern: Text
    mask_pattern: Text
    list_file: UserPath
    eval_list_file: UserPath
    depth_root: Text
    depth_list_file: UserPath
    eval_depth_list_file: UserPath
    depth_scale: Positive
    eight_bit_scale: NotNegative
    eight_bit_offset: Number
    resize_depth: Flag
    invalid_values: Annotated[tuple[Number, ...], Field(max_length=1000)]
    depth_orientation: Literal["stored", "apply"]
    focal_length: NotNegative
    holdout_every: CountOrNone


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Records:
    """A dataset that `data.prepare` wrote."""

    name: Text
    data_dir: UserPath
    train_split: Text
    eval_split: Text


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sources:
    """The groups of which `source`, a field of those below, names the one that counts."""

    missing_depth: Literal["unknown", "hole"]
    synthetic: Synthetic
    folder: Folder
    records: Records


# Of a field that each part of a mixture has for itself, the name of its group.
_GROUP_OF_PARTS = re.compile(
    rf"\b(data\.(?={'|'.join(Sources.__dataclass_fields__)})"
    r"|frame\.(?=min_depth|max_depth)|evaluation\.(?=protocol))"
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Part(Sources):
    """A part of a mixture: samples with a weight, limits, a protocol and a camera of their own."""

    source: Origin
    weight: NotNegative
    min_depth: NotNegative
    max_depth: NotNegative
    protocol: Text
    focal_length: NotNegative

    def limits(self, frame: Frame) -> tuple[float, float]:
        """(least, greatest) depth in metres of its ground truth."""
        return self.min_depth or frame.min_depth, self.max_depth or frame.max_depth


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data(Sources):
    """Where samples come from: `source` names the group that counts."""

    source: Literal[Origin, "mixture"]
    mixture: dict[str, Part]

    def __post_init__(self) -> None:
        if self.source != "mixture":
            return
        rule = "named parts, which a recipe gives, see configs/mixture.py"
        require(bool(self.mixture), "data.mixture", self.mixture, rule)
        rule = "unknown for a mixture: each part has its own"
        require(self.missing_depth == "unknown", "data.missing_depth", self.missing_depth, rule)
        for name in self.mixture:
            require(name.isidentifier(), "part of data.mixture", name, "of letters, digits and _")
        weights = {name: part.weight for name, part in self.mixture.items()}
        rule = "above 0 for at least one part; those of weight 0 are only evaluated"
        require(any(weights.values()), "weights of data.mixture", weights, rule)

    @property
    def origins(self) -> dict[str, "Data | Part"]:
        """{dotted name: group} of what training draws from: all data, or parts with a weight."""
        if self.source != "mixture":
            return {"data": self}
        drawn = {name: part for name, part in self.mixture.items() if part.weight}
        return {f"data.mixture.{name}": part for name, part in drawn.items()}

    def part_of(self, evaluation_set: str) -> str:
        """The part of a mixture to which a set, or its row of a table, belongs; "" without one.

        Raises:
          UserError: there is no such part.
        """
        if self.source != "mixture":
            return ""
        name = re.split(r"\W", evaluation_set, maxsplit=1)[0]
        if name not in self.mixture:
            names = ", ".join(self.mixture)
            raise UserError(f"{evaluation_set!r} is of no part of data.mixture, which has {names}")
        return name


@contextlib.contextmanager
def fields_of_part(name: str) -> Generator[None, None, None]:
    """Errors about fields within name those of this part of a mixture; "": they stay."""
    try:
        yield
    except UserError as error:
        if not name:
            raise
        raise UserError(_GROUP_OF_PARTS.sub(f"data.mixture.{name}.", str(error))) from error
