"""Scores as text and as files."""

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.evaluation import metrics
from diffdepth_jax.evaluation.protocols import Protocol, create_protocol
from diffdepth_jax.evaluation.scoring import Means, Row


def format_table(rows: Mapping[str, Means], names: Sequence[str] = metrics.NAMES) -> str:
    """Text table of {row name: {metric: value}}."""
    width = max(map(len, rows)) + 2
    widths = [max(10, len(name) + 2) for name in (*names, "images")]
    header = [f"{name:>{w}}" for name, w in zip((*names, "images"), widths, strict=True)]
    lines = [" " * width + "".join(header)]
    for row, values in rows.items():
        cells = [f"{values[name]:>{w}.4f}" for name, w in zip(names, widths, strict=False)]
        lines.append(f"{row:<{width}}{''.join(cells)}{values['images']:>{widths[-1]}d}")
    return "\n".join(lines)


def protocol_of(config: Configuration) -> Protocol:
    """The evaluation protocol that a configuration names."""
    frame = config.frame
    return create_protocol(config.evaluation.protocol, frame.min_depth, frame.max_depth)


def describe(config: Configuration, origin: str | None = None) -> str:
    """One line that says how the numbers came about.

    `origin` says where predictions come from; default: the model, as the configuration samples it.
    """
    return f"{protocol_of(config).describe()}; {origin or _model_origin(config)}"


def _model_origin(config: Configuration) -> str:
    flip = "on" if config.evaluation.flip_average else "off"
    return f"input crop {config.frame.input_crop}, flip averaging {flip}, {_sampling(config)}"


def _sampling(config: Configuration) -> str:
    if config.model.kind == "feed_forward":
        return "feed-forward"
    members, steps = config.evaluation.ensemble, config.sampler.num_steps
    samples = "one sample" if members == 1 else f"median of {members} samples"
    return f"{samples}, {steps} {'step' if steps == 1 else 'steps'}"


def format_report(
    config: Configuration, rows: Mapping[str, Means], origin: str | None = None
) -> str:
    """The protocol's tables of {row: metrics}, and below them the line of `describe`."""
    tables = [format_table(rows, names) for names in protocol_of(config).tables]
    return "\n\n".join(tables) + "\n" + describe(config, origin)


def write_results(
    directory: str | os.PathLike,
    name: str,
    means: Means,
    rows: Sequence[Row],
    description: str,
) -> None:
    """Writes NAME.json, the means over images, and NAME.csv, one line for each image.

    An image without a valid pixel has no values in its line.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    report = {"set": name, "description": description, "means": means}
    text = json.dumps(report, indent=1, allow_nan=False)
    (directory / f"{name}.json").write_text(text + "\n")
    with open(directory / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "valid", "holes", *metrics.ALL_NAMES])
        for row in rows:
            values = [row[metric] if row["valid"] else "" for metric in metrics.ALL_NAMES]
            writer.writerow([row["name"], row["valid"], row["holes"], *values])
