"""Scores as text and as files."""

import csv
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from diffdepth_jax.configuration.data import fields_of_part
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.evaluation import breakdown, edges, metrics, protocols, uncertainty_report
from diffdepth_jax.evaluation.scoring import Means, Row
from diffdepth_jax.method.noise import start_of

_COLUMNS = (*metrics.ALL_NAMES, *metrics.ALIGNED_NAMES, *edges.NAMES)
_NOT_PRINTED = (
    "no edge scores are printed: KITTI's ground truth is sparse; scores after median alignment are "
    "in the JSON and CSV files"
)


def format_table(rows: Mapping[str, Means], names: Sequence[str] = metrics.NAMES) -> str:
    """Text table of {row name: {metric: value}}; "-" stands for a value that is None."""
    width = max(map(len, rows)) + 2
    widths = [max(9, len(name) + 2) for name in (*names, "images")]
    header = [f"{name:>{w}}" for name, w in zip((*names, "images"), widths, strict=True)]
    lines = [" " * width + "".join(header)]
    for row, values in rows.items():
        cells = [_cell(values[name]) for name in (*names, "images")]
        aligned = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{row:<{width}}{aligned}")
    return "\n".join(lines)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:d}" if isinstance(value, int) else f"{value:.4f}"


def protocol_of(config: Configuration, name: str) -> protocols.Protocol:
    """The evaluation protocol of a set, or of its row of a table: that of the mixture's part."""
    part, frame, fields = config.data.part_of(name), config.frame, config.evaluation
    limits, protocol = (frame.min_depth, frame.max_depth), fields.protocol
    if part:
        mixed = config.data.mixture[part]
        limits, protocol = mixed.limits(frame), mixed.protocol or protocol
    with fields_of_part(part):
        created = protocols.create_protocol(protocol, *limits, fields.alignment)
    if config.model.is_relative:
        return dataclasses.replace(created, resize="bilinear_disparity")
    return created


def describe(config: Configuration, sets: Iterable[str], origin: str | None = None) -> str:
    """One line that says how the numbers of these sets, or rows of a table, came about.

    `origin` says where predictions come from; default: the model, as the configuration samples it.
    """
    alike = _by_protocol(config, sets)
    lines = [protocol.describe() for protocol in alike]
    if len(alike) > 1:
        names = map(", ".join, alike.values())
        lines = [f"{each}: {line}" for each, line in zip(names, lines, strict=True)]
    return "; ".join([*lines, origin or _model_origin(config)])


def _by_protocol(
    config: Configuration, names: Iterable[str]
) -> dict[protocols.Protocol, list[str]]:
    """The names of the sets, or rows of a table, that each protocol scores."""
    alike = {}
    for name in names:
        alike.setdefault(protocol_of(config, name), []).append(name)
    return alike


def _model_origin(config: Configuration) -> str:
    flip = "on" if config.evaluation.flip_average else "off"
    return f"input crop {config.frame.input_crop}, flip averaging {flip}, {_sampling(config)}"


def _sampling(config: Configuration) -> str:
    if config.model.kind == "feed_forward":
        return "feed-forward"
    members, steps = config.evaluation.ensemble, config.sampler.num_steps
    start = start_of(config.sampler.start, members)
    samples = f"one sample from {start}" if members == 1 else f"median of {members} samples"
    return f"{samples}, {steps} {'step' if steps == 1 else 'steps'}"


def format_report(
    config: Configuration, rows: Mapping[str, Means], origin: str | None = None
) -> str:
    """The tables of {row: metrics}, and below them the line of `describe`; by protocol."""
    return "\n\n".join(
        _format_rows(config, protocol, {name: rows[name] for name in names}, origin)
        for protocol, names in _by_protocol(config, rows).items()
    )


def _format_rows(
    config: Configuration,
    protocol: protocols.Protocol,
    rows: Mapping[str, Means],
    origin: str | None,
) -> str:
    names = protocol.tables
    tables = [format_table(rows, each) for each in names]
    for each in uncertainty_report.TABLES:
        scored = {name: means for name, means in rows.items() if each[0] in means}
        tables += [format_table(scored, each)] if scored else []
    tables += [table for name, means in rows.items() for table in _tables_of_parts(name, means)]
    notes = [] if protocols.SHAPE_TABLE in names else [_NOT_PRINTED]
    return "\n".join(["\n\n".join(tables), *notes, describe(config, rows, origin)])


def _tables_of_parts(row: str, means: Means) -> list[str]:
    """The tables by distance and by scene of a row, if it has them."""
    tables = []
    for kind in ("by_distance", "by_scene"):
        parts = means.get(kind, {})
        shown = dict(list(parts.items())[: breakdown.MAX_SCENES])
        titled = {f"{row}: {title}": values for title, values in shown.items()}
        tables += [format_table(titled, breakdown.NAMES)] if titled else []
        if len(shown) < len(parts):
            tables[-1] += f"\nthe worst {len(shown)} of {len(parts)} scenes; {row}.json has all"
    return tables


def write_results(
    directory: str | os.PathLike,
    name: str,
    means: Means,
    rows: Sequence[Row],
    description: str,
) -> None:
    """Writes NAME.json, the means over images, and NAME.csv, one line for each image.

    An image without a valid pixel has no values in its line, and one without edges that can be
    scored none of `edges.NAMES`. Lines also have `uncertainty_report.image_names`.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    report = {"set": name, "description": description, "means": means}
    text = json.dumps(report, indent=1, allow_nan=False)
    (directory / f"{name}.json").write_text(text + "\n")
    columns = _COLUMNS + uncertainty_report.image_names(rows[0])
    with open(directory / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "valid", "holes", *columns])
        for row in rows:
            scores = [row[name] if row["valid"] else math.nan for name in columns]
            values = ["" if math.isnan(score) else score for score in scores]
            writer.writerow([row["name"], row["valid"], row["holes"], *values])
