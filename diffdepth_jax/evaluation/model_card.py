"""The model card of a model directory, `README.md`: what it is, of what data, and how good.

In the form of the Hugging Face hub: fields between lines of dashes, then Markdown. A card that does
not hold the line `MARK` is somebody's own and stays.
"""

import os
import pathlib
import re
from collections.abc import Iterable, Mapping

from diffdepth_jax.checkpoints.model_directory import CARD_FILE
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.evaluation.report import describe
from diffdepth_jax.evaluation.scoring import Means
from diffdepth_jax.whole_files import whole_file

MARK = "<!-- Written by diffdepth_jax. Without this line, it is kept as it is. -->"
_SCORES = ("abs_rel", "rmse", "d1", "aligned_abs_rel", "boundary_f1")
_ORIGINS = {
    "synthetic": "rendered rooms and streets, made by the program",
    "folder": "a folder of RGB-D data",
}
_KINDS = {
    "diffusion": "A latent diffusion model, after DiffusionDepth (Duan, Guo, Zhu, ECCV 2024)",
    "feed_forward": "A feed-forward model",
    "depth_anything": "A Depth Anything V2 (Yang et al., NeurIPS 2024)",
}
_LICENCE = "## Licence"


def write_card(directory: str | os.PathLike, text: str) -> None:
    """Writes a card into a model directory, unless there is one of somebody's own."""
    path = pathlib.Path(directory) / CARD_FILE
    if path.exists() and MARK not in path.read_text():
        return
    with whole_file(path) as unfinished:
        unfinished.write_text(text)


def licence_section(identifier: str, text: str) -> str:
    """The section of a card on the licence of its parameters, see `licences_in`."""
    return f"{_LICENCE}\n\n`{identifier}`: {text}."


def licences_in(directories: Iterable[str | os.PathLike]) -> str:
    """The licence sections of the cards of model directories, "" if there are none."""
    found = []
    for directory in directories:
        path = pathlib.Path(directory) / CARD_FILE
        text = path.read_text() if path.is_file() else ""
        found += [part.partition("\n## ")[0].strip() for part in text.split(_LICENCE)[1:]]
    lines = list(dict.fromkeys(found))
    return "\n\n".join([_LICENCE, *lines]) if lines else ""


def model_card(
    config: Configuration,
    origin: str,
    rows: Mapping[str, Means] | None = None,
    licence: str = "",
    *,
    is_trained: bool = True,
) -> str:
    """The text of a card.

    Args:
      config: the model's.
      origin: a sentence on where the parameters come from; it tells no path of this machine.
      rows: {evaluation set: metrics}; None: it was not evaluated.
      licence: a licence section; "": the licence is not known.
      is_trained: whether the parameters have learned from the data of the configuration.
    """
    data = _data(config) if is_trained else "Its source says what data it has learned from."
    parts = [_head(config, licence), f"## Origin\n\n{origin}\n\n{data}"]
    parts += [licence] * bool(licence)
    return "\n\n".join([*parts, _scores(config, rows), _limits(config)]) + "\n"


def _head(config: Configuration, licence: str) -> str:
    height, width = config.frame.size
    kind = config.model.codec if config.model.codec == "depth_anything" else config.model.kind
    identifiers = re.findall(r"^`([\w.-]+)`:", licence, re.MULTILINE)
    # The hub has one licence for a model; of several, none is right.
    stated = f"license: {identifiers[0]}\n" if len(set(identifiers)) == 1 else ""
    relative = config.model.is_relative
    title = "Relative inverse depth" if relative else "Metric depth"
    reach = "without metres" if relative else f"depth up to {config.frame.max_depth:g} m"
    return f"""---
library_name: diffdepth_jax
pipeline_tag: depth-estimation
{stated}---
{MARK}

# {title} from one image

{_KINDS[kind]}.
Backbone `{config.model.backbone}`, images of {height}x{width} pixels, {reach}.

    python -m diffdepth_jax.predict --checkpoint=DIR --input=photo.jpg --output=depth

DIR is this directory."""


def _data(config: Configuration) -> str:
    texts, origins = [], config.data.origins
    for name, data in origins.items():
        part = "" if name == "data" else f"{name.rpartition('.')[2]}: "
        texts.append(part + _ORIGINS.get(data.source, data.records.name))
    rendered = all(data.source == "synthetic" for data in origins.values())
    terms = "" if rendered else " The terms of the data hold for the parameters, too."
    return f"Training data: {'; '.join(texts)}.{terms}"


def _scores(config: Configuration, rows: Mapping[str, Means] | None) -> str:
    if rows is None:
        return "## Scores\n\nNot evaluated."
    names = [
        name for name in _SCORES if all(means.get(name) is not None for means in rows.values())
    ]
    lines = [["evaluation set", *names, "images"], ["---"] * (len(names) + 2)]
    lines += [
        [row, *(f"{means[name]:.3f}" for name in names), str(means["images"])]
        for row, means in rows.items()
    ]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## Scores\n\n{table}\n\n{describe(config, rows)}."


def _limits(config: Configuration) -> str:
    if config.model.is_relative:
        metres = "It knows no metres: an unknown scale and shift of what it says are 1 / metres"
    else:
        metres = f"Metres hold for {_cameras(config)}"
    return f"""## Limits

- {metres}.
- Depth of scenes unlike the training data is not reliable. Nothing here is fit for decisions on
  which somebody's safety depends."""


def _cameras(config: Configuration) -> str:
    frame = config.frame
    if frame.canonical_focal_length:
        return "any camera whose focal length is given"
    if frame.focal_length:
        return (
            f"cameras of a focal length of {frame.focal_length:g} pixels at this size; for others "
            "give `--fov` or `--focal_length`"
        )
    return "cameras like those of the training data"
