"""Shows a picture: in the notebook that runs this, or in the desktop's viewer."""

import importlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image, ImageShow

from diffdepth_jax.errors import UserError

_OPENER = "xdg-open"  # of Linux
_PATIENCE = 3.0  # seconds


def show(picture: Image.Image) -> None:
    """Shows a picture.

    Raises:
      UserError: there is no notebook, and no viewer.
    """
    if _in_notebook():
        importlib.import_module("IPython.display").display(picture)
    elif not (_opens(picture) if shutil.which(_OPENER) else ImageShow.show(picture)):
        raise UserError("no program that shows pictures was found: save the picture with .save")


def _opens(picture: Image.Image) -> bool:
    """Whether the desktop's opener shows a picture.

    Pillow does not wait for its answer, and lets it print many lines where there is no viewer.
    """
    with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
        picture.save(file, "PNG")
    command, nowhere = [_OPENER, file.name], subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
    try:
        return process.wait(_PATIENCE) == 0
    except subprocess.TimeoutExpired:  # it ends when the window is closed
        return True


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
