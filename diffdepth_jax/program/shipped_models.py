"""Lists the models that ship with the program.

diffdepth models
"""

import re

from diffdepth_jax.configuration.stored import CONFIG_FILE
from diffdepth_jax.program.default_model import FOLDER
from diffdepth_jax.program.entry import command, start
from diffdepth_jax.program.help_page import Page

_LICENSE = re.compile(r"^license: (.*)$", re.MULTILINE)
_PURPOSE = re.compile(r"^# \w+\n\n(.*?\.)(?:\s|$)", re.MULTILINE | re.DOTALL)
_TRAINED_ON = re.compile(r"^## Training data\n\n(.*?\.)(?:\s|$)", re.MULTILINE | re.DOTALL)


def shipped_names() -> list[str]:
    """The names of the models that ship with the program."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG_FILE}"))


def table() -> str:
    """A paragraph for each model, of its card: what it is for, its data, licence and size."""
    return "\n\n".join(_paragraph(name) for name in shipped_names())


def _paragraph(name: str) -> str:
    folder = FOLDER / name
    card = (folder / "README.md").read_text()
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    rows = {
        "for": _found(_PURPOSE, card),
        "trained on": _found(_TRAINED_ON, card),
        "licence": _found(_LICENSE, card).replace("other", "other, see the card"),
        "size": f"{size:.1f} MB",
        "card": str(folder / "README.md"),
    }
    return "\n".join([name, *(f"  {title + ':':12}{text}" for title, text in rows.items())])


def _found(pattern: re.Pattern[str], card: str) -> str:
    found = pattern.search(card)
    return " ".join(found[1].split()) if found else "see the card"


def _run() -> None:
    print(table())
    print(f"\nUse one: {command('predict')} --checkpoint={shipped_names()[0]} ...")


def main() -> None:
    start(_run, required=[], page=Page(__doc__, {}))


if __name__ == "__main__":
    main()
