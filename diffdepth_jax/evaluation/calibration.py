"""Calibrates the model of a directory on the evaluation sets of a configuration."""

import os
import pathlib

import numpy as np

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import calibration as files
from diffdepth_jax.checkpoints.calibration import Calibration
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import calibration_fit, held_out_scores, scoring, uncertainty
from diffdepth_jax.evaluation.calibration_fit import Pixels, fit_stretch, fit_widths
from diffdepth_jax.evaluation.evaluator import Evaluator, check_predicts_alike, load_evaluator
from diffdepth_jax.evaluation.protocols import Protocol
from diffdepth_jax.evaluation.report import describe, format_table, protocol_of
from diffdepth_jax.media import drawing
from diffdepth_jax.media.reliability_plot import reliability_picture
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.program import progress
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.whole_files import whole_file

PLOT = "calibration.png"
_PER_PICTURE = 1000  # pixels, drawn at random: each picture counts alike, and all fit into memory


def calibrate(config: Configuration, workdir: str | os.PathLike) -> str:
    """Writes WORKDIR/calibration.json and calibration.png; returns the report to print.

    Raises:
      UserError: `workdir` holds no such model, the sets have too few pictures, or the configuration
        predicts in another way than `predict`: it averages flips, aligns depth, or its sampler or
        frame differs from the directory's.
    """
    if config.evaluation.flip_average:
        raise UserError(
            "evaluation.flip_average: predict does not average flips, so that its intervals would "
            "be too narrow: set it to False"
        )
    check_predicts_alike(config, workdir)
    evaluator, variables = load_evaluator(config, workdir)
    for name in evaluator.scorer.sets:
        _check_metres(protocol_of(config, name))
    evaluator.check_ground_truth()
    pixels = collect_pixels(config, evaluator, variables)
    calibration_fit.check_enough(pixels)
    held_out = held_out_scores.cross_validate(pixels)
    stretch = fit_stretch(pixels)
    made = describe(config, evaluator.scorer.sets)
    description = f"{pixels.pictures} pictures, {len(pixels.truth)} pixels; {made}"
    fields = config.evaluation.ensemble, config.sampler.num_steps, parameters_identity(variables)
    found = Calibration(fit_widths(pixels), stretch, *fields, description, held_out)
    files.save_calibration(workdir, found)
    with whole_file(pathlib.Path(workdir) / PLOT) as unfinished:
        curves = held_out_scores.reliability(held_out)
        drawing.write_png(unfinished, reliability_picture(curves))
    return format_calibration(found, workdir)


def _check_metres(protocol: Protocol) -> None:
    """Raises a UserError if depth would be aligned, which `predict` cannot do."""
    if protocol.alignment != "none":
        raise UserError(
            f"alignment {protocol.alignment} of protocol {protocol.name}: intervals are of metres "
            "as `predict` writes them, without ground truth: take a metric model, and set "
            "evaluation.alignment or evaluation.protocol to one without alignment"
        )


def collect_pixels(config: Configuration, evaluator: Evaluator, variables: Variables) -> Pixels:
    """Predicts all pictures of the sets; takes some of the pixels that have ground truth."""
    predict = evaluator.predictor(variables, members=evaluator.has_spread)
    columns, picture = [], 0
    for name, count in evaluator.scorer.sets.items():
        frames = evaluator.scorer.frames(name, predict)
        with telling(lambda: f"{picture} pictures predicted; nothing was written"):  # noqa: B023
            for index, sample, maps in progress.bar(frames, f"predict {name}", total=count):
                column = _pixels_of(config, name, index, sample, np.asarray(maps))
                columns.append(np.concatenate([np.full((1, column.shape[1]), picture), column]))
                picture += 1
    picture, truth, depth, spread, *members = np.concatenate(columns, axis=1)
    members = np.log(members or [depth])
    return Pixels(picture.astype(int), truth, depth, spread, members)


def _pixels_of(config, name, index, sample, maps):
    """Truth, depth, spread and members at some pixels of a picture: metres [3 + S, pixels]."""
    protocol = protocol_of(config, name)
    mask = np.asarray(scoring.scored_mask(sample["depth"], sample["mask"], protocol))
    valid = np.flatnonzero(mask)
    rng = np.random.default_rng((config.seed, index))
    chosen = rng.choice(valid, min(_PER_PICTURE, len(valid)), replace=False)
    depth, *others = scoring.clamped_maps(maps, protocol).reshape(maps.shape[-1], -1)[:, chosen]
    spread, _, *members = others or [np.zeros_like(depth)] * 2
    return np.stack([sample["depth"].reshape(-1)[chosen], depth, spread, *members])


def format_calibration(calibration: Calibration, workdir: str | os.PathLike) -> str:
    """The tables of pictures that were left out of the fit, and what was written."""
    tables = [format_table(calibration.held_out, names) for names in held_out_scores.TABLES]
    bins = sum(len(ends) + 1 for ends in calibration.widths.spreads)
    lines = [
        "each picture was left out of the fit that it is scored by; interval_score, coverage by "
        f"image (p) and by distance (q) at the level {uncertainty.LEVEL:g}",
        f"{calibration.description}; stretch {calibration.stretch:.3g}, widths in {bins} bins",
        f"written: {pathlib.Path(workdir) / files.FILE} and {PLOT}",
    ]
    return "\n".join(["\n\n".join(tables), *lines])
