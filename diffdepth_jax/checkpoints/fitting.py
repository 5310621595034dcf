"""Whether saved variables are those of a model."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Generator

import jax
from jaxtyping import PyTree

from diffdepth_jax.errors import UserError
from diffdepth_jax.program import lowered_programs


def check_leaves(saved: PyTree, expected: PyTree) -> None:
    """Raises a ValueError unless both trees have the same leaves of the same shapes."""
    # Here, because it imports Flax, which takes .15 s.
    from diffdepth_jax.models.variables import leaf_difference

    difference = leaf_difference(saved, expected)
    if difference is None:
        return
    if is_backbone_alone(saved):
        raise ValueError("it holds a backbone alone, for model.backbone_weights")
    raise ValueError(difference)


def check_fit(found: PyTree, abstract: Callable[[], PyTree], identity: str | None) -> None:
    """As `check_leaves`, with what `abstract` makes; but what fitted before is not compared again.

    `identity` says of which model `abstract` is, if that is known. To make it takes a second.
    """
    if identity is None:
        return check_leaves(found, abstract())
    shapes = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), found)
    lowered_programs.once(f"fits {identity} {shapes}", lambda: check_leaves(found, abstract()))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if there is no message."""
    return str(error).strip().split("\n")[0][:800] or type(error).__name__


def is_backbone_alone(variables: PyTree) -> bool:
    """Whether variables are those that the conversion of a backbone writes."""
    if not isinstance(variables, dict):
        return False
    return all(isinstance(x, dict) and set(x) == {"backbone"} for x in variables.values())


@contextlib.contextmanager
def explained(directory: str | os.PathLike, weights: str) -> Generator[None]:
    """Turns what a block raises about weights of a directory into a UserError with the remedy."""
    jax.devices()  # for its own error about a missing device, which is no fault of the weights
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Orbax and tensorstore raise many classes, and Exception itself
        raise UserError(
            f"{pathlib.Path(directory) / weights} does not fit the model of {directory} "
            f"({first_line(error)}): use a checkpoint together with its own configuration"
        ) from error
