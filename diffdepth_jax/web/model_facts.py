"""What the page says of the loaded model: its name, what it was trained on, and its limits."""

import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from diffdepth_jax.checkpoints.model_directory import CARD_FILE, CONFIG_FILE
from diffdepth_jax.web.markup import escaped

_MOST = 20_000  # characters of a model card that are read
_UNKNOWN = "its directory does not say of what"
_ORIGINS = {
    "synthetic": "rooms and streets that the program rendered",
    "folder": "pairs of a photo and its depth, from a folder",
}


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """Plain text; a model directory may be a stranger's, so that its Markdown is not shown.

    Attributes:
      name: of the model.
      training: what it was trained on.
      limits: what it is not fit for, sentence by sentence; empty if nothing states it.
    """

    name: str
    training: str
    limits: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The name, and the first sentence of what the model was trained on, in Markdown."""
        return f"**Model:** {escaped(self.name)}, trained on: {escaped(self._sentences[0])}"

    @property
    def more(self) -> str:
        """The other sentences, and the limits as a list, in Markdown."""
        limits = "\n".join(f"- {escaped(limit)}" for limit in self.limits)
        return "\n\n".join(filter(None, [*map(escaped, self._sentences[1:]), limits]))

    @property
    def _sentences(self) -> list[str]:
        return re.split(r"(?<=\.) (?=[A-Z])", self.training, maxsplit=1)


def read_facts(directory: str | os.PathLike[str]) -> ModelFacts:
    """Reads a model directory: its card, or else its configuration."""
    directory = pathlib.Path(os.path.abspath(directory))
    card = _card(directory)
    title = re.search(r"^# (.+)$", card, re.MULTILINE)
    training = " ".join(_section(card, "Training data").partition("\n\n")[0].split())
    return ModelFacts(
        title[1].strip() if title else directory.name,
        _unmarked(training) or _configured(directory),
        tuple(
            _unmarked(" ".join(item.split()))
            for item in re.split(r"^- ", _section(card, "Limits"), flags=re.MULTILINE)[1:]
        ),
    )


def _card(directory: pathlib.Path) -> str:
    try:
        with (directory / CARD_FILE).open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except OSError:
        return ""


def _section(card: str, title: str) -> str:
    """Returns the text below a heading; "" if there is none."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _unmarked(text: str) -> str:
    """Returns a text without Markdown's marks of code."""
    return text.replace("`", "")


def _configured(directory: pathlib.Path) -> str:
    """Returns what the configuration of a training says."""
    try:
        data = json.loads((directory / CONFIG_FILE).read_text())["data"]
        parts = [data]
        if data["source"] == "mixture":
            parts = [part for part in data["mixture"].values() if part["weight"]]
        return "; ".join(dict.fromkeys(map(_origin, parts)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return _UNKNOWN  # the model is used nevertheless: what predicts was checked when it loaded


def _origin(data: dict[str, Any]) -> str:
    if data["source"] == "records":
        return f"the data set {data['records']['name']}"
    return _ORIGINS[data["source"]]
