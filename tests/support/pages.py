"""The code blocks of a page in Markdown."""

import re

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(page):
    """(language, text) of each code block that names its language, in the order of the page."""
    return FENCE.findall(page.read_text())


def blocks(page, *languages):
    """The code blocks of these languages."""
    return [text for language, text in code_blocks(page) if language in languages]
