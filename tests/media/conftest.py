"""What the tests of pictures with text use."""

import pytest
from PIL import ImageDraw


@pytest.fixture
def texts(monkeypatch):
    """All that is written into pictures."""
    written, draw = [], ImageDraw.ImageDraw.text

    def text(self, place, text, *rest, **options):
        written.append(text)
        draw(self, place, text, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written
