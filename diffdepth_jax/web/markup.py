"""Text of strangers, such as a photo's metadata or a model card, in the page's Markdown."""

import re


def escaped(text: str) -> str:
    """Returns Markdown that shows a text as it is, without links or pictures."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
