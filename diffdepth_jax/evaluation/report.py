"""Scores as text and as files."""

import csv
import json
import pathlib

from diffdepth_jax.evaluation import metrics, protocols


def format_table(rows, names=metrics.NAMES):
    """Text table of {row name: {metric: value}}."""
    width = max(map(len, rows)) + 2
    widths = [max(10, len(name) + 2) for name in (*names, "images")]
    header = [f"{name:>{w}}" for name, w in zip((*names, "images"), widths, strict=True)]
    lines = [" " * width + "".join(header)]
    for row, values in rows.items():
        cells = [f"{values[name]:>{w}.4f}" for name, w in zip(names, widths, strict=False)]
        lines.append(f"{row:<{width}}{''.join(cells)}{values['images']:>{widths[-1]}d}")
    return "\n".join(lines)


def protocol_of(config):
    """The evaluation protocol of a configuration."""
    limits = config.inference.min_depth, config.inference.max_depth
    return protocols.create_protocol(config.evaluation.protocol, *limits)


def describe(config, origin=None):
    """One line on how numbers came about; `origin`: where predictions are from if from no model."""
    fields, steps = config.evaluation, config.sampler.num_steps
    if origin is None:
        origin = (
            f"input crop {config.inference.input_crop}, "
            f"flip averaging {'on' if fields.flip_average else 'off'}, "
            f"{'one sample' if fields.ensemble == 1 else f'median of {fields.ensemble} samples'}, "
            f"{steps} {'step' if steps == 1 else 'steps'}"
        )
    return f"{protocol_of(config).describe()}; {origin}"


def format_report(config, rows, origin=None):
    """The protocol's tables of {row: metrics}, and under them the line of `describe`."""
    tables = [format_table(rows, names) for names in protocol_of(config).tables]
    return "\n\n".join(tables) + "\n" + describe(config, origin)


def write_results(directory, name, means, rows, description):
    """NAME.json: means over images. NAME.csv: an image a line, no values where none is valid."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    report = {"set": name, "description": description, "means": means}
    text = json.dumps(report, indent=1, allow_nan=False)
    (directory / f"{name}.json").write_text(text + "\n")
    with open(directory / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "valid", *metrics.ALL_NAMES])
        for row in rows:
            values = [row[metric] if row["valid"] else "" for metric in metrics.ALL_NAMES]
            writer.writerow([row["name"], row["valid"], *values])
