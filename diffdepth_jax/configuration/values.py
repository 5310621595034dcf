"""The values that a field may have, and the sentence about a field that has another."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.errors import UserError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]  # 0 says "none" or "all", as the field explains
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
UserPath = Annotated[str, AfterValidator(expand_home)]
Size = tuple[Count, Count]  # (height, width) in pixels

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
        return f"{name} {first['input']!r}: must have as many values as in configs/default.py"
    rule = _RULES[kind].format(**first["ctx"]) if kind in _RULES and "ctx" in first else None
    message = f"must be {rule}" if rule else first["msg"].replace("Input should be", "must be")
    return f"{name} {first['input']!r}: {message}"


def require(valid: bool, field: str, value: object, rule: str) -> None:
    """Raises a UserError about a field unless `valid`; for rules that join several fields."""
    if not valid:
        raise UserError(f"{field} {value!r}: must be {rule}")
