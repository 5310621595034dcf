"""A picture goes to the notebook if there is one, and otherwise to the desktop."""

import contextlib
import sys
import types

import pytest
from PIL import Image, ImageShow

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import viewer

PICTURE = Image.new("RGB", (4, 3))


@pytest.fixture
def opened(monkeypatch):
    """The pictures that the desktop's viewer was asked to show."""
    pictures = []
    monkeypatch.setattr(ImageShow, "show", lambda picture: pictures.append(picture) or True)
    monkeypatch.setattr(viewer.shutil, "which", lambda name: None)
    return pictures


def _ipython(monkeypatch, shell):
    """A stand-in for IPython, whose `display` collects what it is given."""
    displayed, library = [], types.ModuleType("IPython")
    library.get_ipython = lambda: shell
    library.display = types.ModuleType("IPython.display")
    library.display.display = displayed.append
    monkeypatch.setitem(sys.modules, "IPython", library)
    monkeypatch.setitem(sys.modules, "IPython.display", library.display)
    return displayed


def test_outside_of_a_notebook_a_viewer_opens(opened, monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    viewer.show(PICTURE)
    terminal = _ipython(monkeypatch, types.SimpleNamespace())  # IPython in a terminal
    viewer.show(PICTURE)
    assert opened == [PICTURE] * 2 and not terminal


def test_a_notebook_displays(opened, monkeypatch):
    displayed = _ipython(monkeypatch, types.SimpleNamespace(kernel=object()))
    viewer.show(PICTURE)
    assert displayed == [PICTURE] and not opened


def test_without_a_viewer_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(viewer.shutil, "which", lambda name: None)
    monkeypatch.setattr(ImageShow, "_viewers", [])
    with pytest.raises(UserError, match=r"no program that shows pictures was found: .*\.save"):
        viewer.show(PICTURE)


@pytest.mark.parametrize(
    ("script", "opens"),
    [("exit 0", True), ("sleep 9", True), ("echo no browser; echo none >&2; exit 3", False)],
)
def test_the_desktops_opener_is_asked_and_is_silent(tmp_path, monkeypatch, capfd, script, opens):
    opener = tmp_path / "xdg-open"
    opener.write_text(f"#!/bin/sh\ntest -s $1 || exit 4\n{script}\n")
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(viewer.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(viewer, "_PATIENCE", 0.2)
    with contextlib.nullcontext() if opens else pytest.raises(UserError, match="was found: save"):
        viewer.show(PICTURE)
    assert capfd.readouterr() == ("", "")
