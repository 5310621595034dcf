"""What --help prints: what a program does, examples, and its flags in groups with defaults."""

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from absl import flags

_OF_ABSL = r"^<[\w|]+>: |; repeat this option to specify a list of values$"
_WIDTH, _INDENT = 88, 6
_PLACEHOLDERS = {
    "path": "PATH",
    "int": "N",
    "float": "X",
    "string": "TEXT",
    "comma separated list of strings": "A,B,..",
    "configuration": "NAME",
}


class Page(NamedTuple):
    """The page of a program.

    Attributes:
      text: what it does, with an example.
      groups: {heading: names of flags}. Flags of no group follow under "More".
      hidden: names of flags that the program has, but that mean nothing to the command.
    """

    text: str
    groups: Mapping[str, Sequence[str]]
    hidden: Collection[str] = ()


def render(command: str, page: Page, known: Sequence[flags.Flag]) -> str:
    """Returns the page of a command whose flags are `known`."""
    by_name = {flag.name: flag for flag in known if flag.name not in page.hidden}
    listed = {name for names in page.groups.values() for name in names}
    groups = {**page.groups, "More": [name for name in by_name if name not in listed]}
    lines = [f"usage: {command} [flags]", "", page.text.strip()]
    for heading, names in groups.items():
        found = [by_name[name] for name in names if name in by_name]
        lines += ["", f"{heading}:"] * bool(found)
        lines += [line for flag in found for line in _lines(flag)]
    return "\n".join(lines)


def _lines(flag: flags.Flag) -> Iterator[str]:
    short = f", -{flag.short_name}" if flag.short_name else ""
    yield f"  {_form(flag)}{short}"
    # absl puts the choices before the help of a flag that has some, and a hint behind others.
    described = re.sub(_OF_ABSL, "", " ".join((flag.help or "").split()))
    yield from textwrap.wrap(
        f"{described}{_default(flag)}",
        _WIDTH,
        initial_indent=" " * _INDENT,
        subsequent_indent=" " * _INDENT,
        break_on_hyphens=False,
    )


def _form(flag: flags.Flag) -> str:
    """The flag as one types it."""
    if flag.boolean:
        return f"--[no]{flag.name}"
    choices = getattr(flag.parser, "enum_values", None)
    kind = flag.flag_type().removeprefix("multi ")
    value = "|".join(choices) if choices else _PLACEHOLDERS.get(kind, "VALUE")
    return f"--{flag.name}={value}"


def _default(flag: flags.Flag) -> str:
    """The default, unless there is none or the help speaks of it."""
    if flag.default is None or flag.default == [] or "efault:" in (flag.help or ""):
        return ""
    return f" Default: {(flag.default_as_str or '').strip(chr(39))}."
