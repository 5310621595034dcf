"""Plots and panels of the report."""

import functools
import os
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.method_study import results as result_files
from benchmarks.method_study import scenes, tables
from benchmarks.method_study.results import Found
from benchmarks.method_study.variants import SAMPLER_STEPS, Size
from diffdepth_jax.media import color_maps

STEPS_OF = (
    "default",
    "random",
    "every_step",
    "plain",
    "sample_steps_5",
    "sample_steps_20",
    "released",
    "paper",
)
PANELS_OF = ("default", "direct", "released", "paper", "self_4", "truth_only_4", "none_4")
PanelRow = tuple[Any, Any, dict[str, Any]]  # an image, its metres, {variant: metres}


def _figure(draw, path):
    """Two axes, rooms and streets, each drawn by draw(axes, kind)."""
    figure = Figure((10, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), tables.KINDS, strict=True):
        draw(axes, kind)
        axes.set_title(kind)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
    figure.savefig(path, dpi=100)


def _line(axes, x, samples, label):
    """Mean and standard deviation over seeds at each x, of lists of numbers."""
    means = [np.mean(sample) for sample in samples]
    spreads = [np.std(sample, ddof=1) if len(sample) > 1 else 0 for sample in samples]
    axes.errorbar(x, means, spreads, label=label, marker="o", markersize=3, capsize=2)


def steps_plot(found: Found, path: str | os.PathLike) -> None:
    """abs_rel against the sampler's steps, without retraining."""

    def draw(axes, kind):
        for name in STEPS_OF:
            if name in found:
                samples = [tables.values(found[name], kind, "abs_rel", n) for n in SAMPLER_STEPS]
                _line(axes, SAMPLER_STEPS, samples, name)
        axes.set(xscale="log", yscale="log", xlabel="sampler steps", ylabel="abs_rel")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.set_xticks(SAMPLER_STEPS, [str(count) for count in SAMPLER_STEPS])

    _figure(draw, path)


def sparsity_plot(found: Found, path: str | os.PathLike, metric: str = "abs_rel") -> None:
    """Error against the share of pixels with ground truth, for each target of diffusion."""

    def draw(axes, kind):
        for target in tables.TARGETS:
            names = {p: tables.sparsity_name(target, p) for p in tables.PERCENTS}
            names = {percent: name for percent, name in names.items() if name in found}
            points = {p: tables.values(found[name], kind, metric) for p, name in names.items()}
            if points:
                _line(axes, list(points), list(points.values()), target)
        axes.set(xscale="log", xlabel="valid pixels in training (%)", ylabel=metric)
        axes.set_xticks(tables.PERCENTS, [str(percent) for percent in tables.PERCENTS])

    _figure(draw, path)


def sparsification_plot(found: Found, path: str | os.PathLike, name: str = "default") -> None:
    """Error of the pixels that stay, against the share that is left out."""
    rows = [result["uncertainty"] for result in found[name] if "uncertainty" in result]

    def draw(axes, kind):
        fractions = np.linspace(0, 0.95, len(rows[0][kind]["curve"]))
        for key, label in (("curve", "by spread"), ("oracle", "by error")):
            _line(axes, fractions, np.transpose([row[kind][key] for row in rows]), label)
        axes.set(xlabel="share left out", ylabel="error / error of all")

    _figure(draw, path)


def panels(found: Found, directory: str | os.PathLike, path: str | os.PathLike) -> bool:
    """The same held-out scenes under each variant that kept its predictions."""
    shown = {
        name: result_files.read_predictions(directory, name, 0)
        for name in PANELS_OF
        if name in found
    }
    shown = {name: kept for name, kept in shown.items() if kept is not None}
    if not shown:
        return False
    height, width = next(iter(shown.values()))["rooms"].shape[1:]
    rows = []
    for kind, indices in result_files.PANEL_SCENES.items():
        truth = scenes.render(kind, "eval", max(indices) + 1, Size(height, width, 0, 0, 0, 0, 0))
        for place, index in enumerate(indices):
            predictions = {name: kept[kind][place] for name, kept in shown.items()}
            rows.append((truth.image[index], truth.depth[index, ..., 0], predictions))
    panel_figure(rows).savefig(path, dpi=80)
    return True


def panel_figure(rows: list[PanelRow]) -> Figure:
    """Each (image, metres, {variant: metres}) as a row of pictures, named above the first."""
    names = list(rows[0][2])
    figure = Figure((1.5 * (len(names) + 2), 1.25 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(names) + 2, squeeze=False)
    for index, (axes, (image, depth, predictions)) in enumerate(zip(grid, rows, strict=True)):
        low, high = np.percentile(depth[depth > 0], (2, 98))
        color = functools.partial(color_maps.colorize_depth, min_depth=low, max_depth=high)
        pictures = {"image": image, "truth": color(depth)}
        pictures |= {name: color(prediction) for name, prediction in predictions.items()}
        for one, (title, picture) in zip(axes, pictures.items(), strict=True):
            one.imshow(picture)
            one.set_axis_off()
            if index == 0:
                one.set_title(title, fontsize="small")
    return figure


def draw_all(found: Found, directory: pathlib.Path) -> list[tuple[str, str]]:
    """Draws what the results allow beside them: (file, caption) of each picture."""
    folder = pathlib.Path(directory).parent
    drawn = []

    def add(name, caption, draw, *arguments):
        if draw(*arguments, folder / name) is not False:
            drawn.append((name, caption))

    if set(STEPS_OF) & found.keys():
        add("steps.png", "Error against sampler steps, without retraining.", steps_plot, found)
    if {"self_4", "truth_4", "none_4", "truth_only_4"} & found.keys():
        add(
            "sparsity.png",
            "Error against ground truth's density in training.",
            sparsity_plot,
            found,
        )
    if any("uncertainty" in result for result in found.get("default", [])):
        add(
            "sparsification.png",
            "Does the spread of samples predict the error?",
            sparsification_plot,
            found,
        )
    add("panels.png", "The same held-out scenes under variants; seed 0.", panels, found, directory)
    return drawn
