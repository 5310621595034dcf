"""Evaluates a model on the evaluation sets of a configuration."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import jax
import numpy as np
from absl import logging

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.calibration import Calibration, load_calibration
from diffdepth_jax.checkpoints.model_directory import check_directory, load_variables, read_config
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.configuration.model import Sampler
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.sources import EvaluationSets, create_sources
from diffdepth_jax.distributed import processes, sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import predictors
from diffdepth_jax.evaluation.report import describe, write_results
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Means, Predictor
from diffdepth_jax.evaluation.uncertainty_report import create_score_maps
from diffdepth_jax.media import drawing
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import DepthNetwork, create_model
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.models.variables import abstract_variables

# What a calibration holds for, beside the model: how it samples, and how it sees frames. The
# number of sampler steps is in the calibration.
_PREDICTS_ALIKE = (
    "frame",
    "model.sharpen",
    *(
        f"sampler.{x.name}"
        for x in dataclasses.fields(Sampler)
        if x.name not in ("num_steps", "remat")
    ),
)


class Log(Protocol):
    """Takes the results of an evaluation during training, see `training.run_log`."""

    def scalars(self, step: int, **values: float) -> None: ...

    def panels(self, name: str, step: int, panels: list[np.ndarray]) -> None: ...


class Evaluator:
    """Scores a model's variables.

    Attributes:
      model, schedule: what predicts.
      scorer: scores any predictor by the same protocol.

    Args:
      config: the configuration.
      model, schedule: see above.
      sources: the evaluation sets.
      mesh: this process's devices that predict; default: all devices of this process.
    """

    def __init__(
        self,
        config: Configuration,
        model: DepthNetwork,
        schedule: diffusion.NoiseSchedule,
        sources: EvaluationSets,
        mesh: jax.sharding.Mesh | None = None,
    ):
        self._config, self.model, self.schedule = config, model, schedule
        self._mesh = mesh or sharding.create_mesh(jax.local_devices())
        self._batch_size = sharding.divisible(config.evaluation.batch_size, self._mesh)
        self._camera = CanonicalCamera.of(config)
        self.scorer = Scorer(config, sources, self._batch_size)
        self._predict_step = predictors.create_predict_step(
            model, schedule, vars(config.sampler), self._mesh
        )

    def check_ground_truth(self) -> None:
        """See `Scorer.check_ground_truth`."""
        self.scorer.check_ground_truth(self._camera)

    @property
    def has_spread(self) -> bool:
        """Whether predictions have one: of an ensemble, or of a model with a Laplace scale."""
        return self._config.evaluation.ensemble > 1 or self._config.model.laplace_scale

    def predictor(self, variables: Variables, *, members: bool = False) -> Predictor:
        """The predictor of these variables, with the views that the configuration asks for.

        With `members`, predictions have all the maps of `scoring.Prediction`.
        """
        fields = self._config.evaluation
        return predictors.model_predictor(
            self._predict_step,
            jax.device_put(variables, sharding.replicated(self._mesh)),
            jax.random.key(self._config.seed),
            self._batch_size,
            flip_average=fields.flip_average,
            ensemble=fields.ensemble,
            members=members,
            camera=self._camera,
        )

    def evaluate(
        self,
        variables: Variables,
        log: Log | None = None,
        step: int = 0,
        directory: str | os.PathLike | None = None,
        calibration: Calibration | None = None,
    ) -> dict[str, Means]:
        """{set: metrics} of these variables.

        Args:
          variables: the model's.
          log: gets the metrics, and pictures of the first images.
          step: of training, for the log.
          directory: gets the result files, see `write_results`, and SET.png, the pictures.
          calibration: whose intervals are scored, too.
        """
        predict, results = self.predictor(variables, members=self.has_spread), {}
        score_maps = create_score_maps(self.has_spread, calibration)
        for name in self.scorer.sets:
            panels: list[np.ndarray] = []
            rows = self.scorer.score(name, predict, panels=panels, score_maps=score_maps)
            means = results[name] = self.scorer.means(name, rows)
            if log is not None:
                scalars = {f"{name}/{key}": x for key, x in means.items() if _is_number(x)}
                log.scalars(step, **scalars)
                log.panels(name, step, panels)
            if directory is not None and processes.is_first():
                write_results(directory, name, means, rows, describe(self._config, [name]))
                picture = pathlib.Path(directory) / f"{name}.png"
                drawing.write_png(picture, drawing.stack_panels(panels))
        return results


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def create_evaluator(
    config: Configuration, sources: EvaluationSets, mesh: jax.sharding.Mesh | None = None
) -> Evaluator:
    """The Evaluator of the model that a configuration describes."""
    model = create_model(config.model)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    return Evaluator(config, model, schedule, sources, mesh)


def load_evaluator(
    config: Configuration, workdir: str | os.PathLike
) -> tuple[Evaluator, Variables]:
    """An evaluator, and the best parameters of a run's or a conversion's directory.

    The directory's model, diffusion and canonical focal length have to be the configuration's; all
    else may differ. A sampler that differs is worth a warning.
    """
    check_directory(workdir, config, ("model", "diffusion", "frame.canonical_focal_length"))
    ours, theirs = config.sampler, read_config(workdir).sampler
    for name in ("spacing", "start", "global_noise", "temperature", "eta", "clip"):
        if getattr(ours, name) != getattr(theirs, name):
            logging.warning(
                "sampler.%s is %s here, but %s in %s",
                name,
                getattr(ours, name),
                getattr(theirs, name),
                workdir,
            )
    _, sources = create_sources(config.data, config.seed)
    evaluator = create_evaluator(config, sources)
    return evaluator, load_variables(workdir, partial(abstract_variables, evaluator.model))


def evaluate_checkpoint(
    config: Configuration, workdir: str | os.PathLike, model: str | os.PathLike | None = None
) -> Mapping[str, Means]:
    """Scores a model: {row: metrics}; writes WORKDIR/evaluation/.

    `model` is its directory; default: `workdir`, of which the best parameters count.
    """
    model = workdir if model is None else model
    evaluator, variables = load_evaluator(config, model)
    evaluator.check_ground_truth()
    results = evaluator.evaluate(
        variables,
        directory=pathlib.Path(workdir) / "evaluation",
        calibration=_fitting_calibration(config, model, variables),
    )
    return evaluator.scorer.with_baselines(results)


def check_predicts_alike(config: Configuration, workdir: str | os.PathLike) -> None:
    """Raises a UserError unless `predict` reads the same sampler, frame and sharpening there.

    The number of sampler steps may differ: `predict` may be given another one, too.
    """
    check_directory(workdir, config, _PREDICTS_ALIKE)


def _fitting_calibration(
    config: Configuration, workdir: str | os.PathLike, variables: Variables
) -> Calibration | None:
    """The directory's calibration. One that holds for other predictions is worth a warning."""
    found, fields = load_calibration(workdir), config.evaluation
    try:
        if found is not None:
            identity = parameters_identity(variables)
            found.check(workdir, identity, fields.ensemble, config.sampler.num_steps)
            check_predicts_alike(config, workdir)
            if fields.flip_average:
                raise UserError("they do not hold for evaluation.flip_average")
    except UserError as error:
        logging.warning("intervals are not scored: %s", error)
        return None
    return found
