"""The values that a field may have, and the sentence about a field that has another."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.errors import UserError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

# Strict: JSON has types of its own, and neither True nor "1" is a number. The limits are beyond any
# use, and keep what is computed from a stranger's numbers within 32 bits.
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
CountOrNone = Annotated[int, Field(strict=True, ge=0, lt=2**31)]  # 0: "none" or "all"
Channels = Annotated[int, Field(strict=True, ge=1, le=4096)]
Number = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e9)]
NotNegative = Annotated[float, Field(strict=True, ge=0, le=1e9)]
Metres = Annotated[float, Field(strict=True, ge=1e-6, le=1e6)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
BelowOne = Annotated[float, Field(strict=True, ge=0, lt=1)]
Text = Annotated[str, Field(max_length=4096)]
UserPath = Annotated[Text, AfterValidator(expand_home)]
Side = Annotated[int, Field(strict=True, ge=1, le=2**14)]
Size = tuple[Side, Side]  # (height, width) in pixels

# pydantic's name of an error, and the rule that the value breaks.
_RULES = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "one of {expected}",
    "finite_number": "finite",
    "value_error": "{error}",
}


def sentence(error: ValidationError) -> str:
    """One line about the first field that does not pass."""
    first = error.errors()[0]
    kind, place = first["type"], first["loc"]
    name = ".".join(str(part) for part in place if not isinstance(part, int))
    if kind == "missing" and not isinstance(place[-1], int):
        return f"configuration field {name} is missing: configs/default.py lists all fields"
    if kind == "unexpected_keyword_argument":
        return f"configuration field {name} is unknown: configs/default.py lists all fields"
    if kind in ("missing", "too_long"):
        return f"{name} {_shown(first['input'])}: must have as many values as in configs/default.py"
    rule = _RULES[kind].format(**first["ctx"]) if kind in _RULES and "ctx" in first else None
    message = f"must be {rule}" if rule else first["msg"].replace("Input should be", "must be")
    return f"{name} {_shown(first['input'])}: {message}"


def require(valid: bool, field: str, value: object, rule: str) -> None:
    """Raises a UserError about a field unless `valid`; for rules that join several fields."""
    if not valid:
        raise UserError(f"{field} {_shown(value)}: must be {rule}")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]} ..."
