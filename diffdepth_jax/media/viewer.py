"""Shows a picture: in the notebook that runs this, or in the desktop's viewer."""

import importlib
import sys

from PIL import Image, ImageShow

from diffdepth_jax.errors import UserError


def show(picture: Image.Image) -> None:
    """Shows a picture.

    Raises:
      UserError: there is no notebook, and no viewer.
    """
    if _in_notebook():
        importlib.import_module("IPython.display").display(picture)
    elif not ImageShow.show(picture):
        raise UserError("no program that shows pictures was found: save the picture instead")


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")
