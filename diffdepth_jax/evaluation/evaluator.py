"""The evaluation of a configuration: its sets, protocol, baselines, pictures and result files."""

import pathlib

import jax
from absl import logging

from diffdepth_jax.checkpoints.model_directory import check_directory, load_variables, read_config
from diffdepth_jax.datasets import pipeline, transforms
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.distributed import processes, sharding
from diffdepth_jax.errors import require_positive
from diffdepth_jax.evaluation import predictors, scoring
from diffdepth_jax.evaluation.report import describe, protocol_of, write_results
from diffdepth_jax.media import drawing
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables


class Evaluator:
    """Scores variables, or any predictor, on the evaluation sets of a configuration.

    Args:
      config: with the groups evaluation, inference, sampler and train, and the seed.
      model, schedule: None if only other predictors are scored.
      sources: {set: (training, evaluation) source}.
      mesh: the devices that predict, of this process; default: all that it has. Of several
        processes each scores its share of a set, and all return all rows.
    """

    def __init__(self, config, model, schedule, sources, mesh=None):
        self._mesh = mesh or sharding.create_mesh(jax.local_devices())
        fields = config.evaluation
        require_positive("evaluation", batch_size=fields.batch_size, ensemble=fields.ensemble)
        self.model, self.schedule = model, schedule
        self._config, self._sources = config, sources
        self._batch_size = -(-fields.batch_size // self._mesh.size) * self._mesh.size
        self._predict_step = predictors.create_predict_step(
            model, schedule, config.sampler, self._mesh
        )
        self._protocol = protocol_of(config)
        self._input_crop = config.inference.input_crop

    @property
    def sets(self):
        """{name of an evaluation set: number of its images}."""
        return {name: len(source) for name, (_, source) in self._sources.items()}

    def predictor(self, variables):
        """Of these variables, with the views that the configuration asks for."""
        fields = self._config.evaluation
        variables = jax.device_put(variables, sharding.replicated(self._mesh))
        return predictors.model_predictor(
            self._predict_step,
            variables,
            jax.random.key(self._config.seed),
            self._batch_size,
            flip_average=fields.flip_average,
            ensemble=fields.ensemble,
        )

    def evaluate(self, variables, log=None, step=0, directory=None):
        """{set: metrics} of these variables.

        A log gets them, and panels of the first images; a directory, see `write_results`.
        """
        predict, results = self.predictor(variables), {}
        for name in self._sources:
            panels = None if log is None else []
            rows = self.score(name, predict, panels=panels)
            results[name] = self.means(rows)
            if log is not None:
                log.scalars(step, **{f"{name}/{key}": v for key, v in results[name].items()})
                log.panels(name, step, panels)
            if directory is not None and processes.is_first():
                write_results(directory, name, results[name], rows, describe(self._config))
        return results

    def score(self, name, predict, *, input_crop=None, panels=None):
        """Scores a predictor on one set.

        Args:
          name: of the set.
          predict: see `evaluate`.
          input_crop: what predictions are of; default: what the model sees.
          panels: a list that gets pictures of the first train.num_panels images.

        Returns:
          {"name", "valid", metric: value ...} of each image.
        """
        rows, crop = [], self._input_crop if input_crop is None else input_crop
        indices = processes.share(self.sets[name])
        for image in scoring.score_images(
            predict,
            self._batches(name, indices),
            protocol=self._protocol,
            input_crop=crop,
            first=indices.start,
        ):
            rows.append({"name": image.name, **image.values})
            if panels is not None and image.index < self._config.train.num_panels:
                panels.append(_panel(image))
        return processes.gather(rows)

    def means(self, rows):
        """{metric: mean over images} of what `score` returned."""
        return scoring.mean_over_images(rows, self._protocol)

    def frames(self, name, predict):
        """Yields (index, sample, metres [H, W, 1]) of each image of a set, unscored."""
        batches = self._batches(name, range(self.sets[name]))
        return scoring.predict_frames(predict, batches, self._input_crop)

    def with_baselines(self, results):
        """`results` as rows of a table, those of the baselines between if the config asks."""
        if not self._config.evaluation.baselines:
            return results
        rows = {}
        for name, (train_source, _) in self._sources.items():
            rows[f"{name}: this model"] = results[name]
            for title, fit in (
                ("best constant", predictors.constant_predictor),
                ("mean map", predictors.mean_map_predictor),
            ):
                images = self.score(name, fit(train_source, self._fitted))
                rows[f"{name}: {title}"] = self.means(images)
        return rows

    def _fitted(self, sample):
        """A training sample at the size at which models predict, not augmented."""
        size = self._config.inference.size
        sample = pipeline.fit(pipeline.cut(sample, self._input_crop), size)
        return transforms.valid_range(transforms.pad_to(sample, size), *self._protocol.truth)

    def _batches(self, name, indices):
        min_depth, max_depth = self._protocol.truth
        return pipeline.evaluation_batches(
            self._sources[name][1],
            indices,
            batch_size=self._batch_size,
            size=self._config.inference.size,
            input_crop=self._input_crop,
            min_depth=min_depth,
            max_depth=max_depth,
        )


def create_evaluator(config, sources, mesh=None):
    """Of the model that a configuration describes; see `Evaluator`."""
    model = create_model(**config.model)
    schedule = diffusion.create_schedule(**config.diffusion)
    return Evaluator(config, model, schedule, sources, mesh)


def load_evaluator(config, workdir):
    """(evaluator, variables) of the best parameters in `workdir`, a run's or a conversion's.

    Model and diffusion of the directory have to be those of `config`, all else may differ; how the
    model was sampled there is worth a warning.
    """
    check_directory(workdir, config, ("model", "diffusion"))
    ours, theirs = config.sampler, read_config(workdir).sampler
    for name in ("spacing", "start", "eta", "clip"):
        if ours[name] != theirs[name]:
            logging.warning(
                "sampler.%s is %s here, but %s in %s", name, ours[name], theirs[name], workdir
            )
    _, sources = create_sources(seed=config.seed, **config.data)
    evaluator = create_evaluator(config, sources)
    return evaluator, load_variables(workdir, abstract_variables(evaluator.model))


def evaluate_checkpoint(config, workdir):
    """Scores what `workdir` holds: {row: metrics}; leaves WORKDIR/evaluation/."""
    evaluator, variables = load_evaluator(config, workdir)
    results = evaluator.evaluate(variables, directory=pathlib.Path(workdir) / "evaluation")
    return evaluator.with_baselines(results)


def _panel(image):
    text = f"abs_rel {image.values['abs_rel']:.3f}, rmse {image.values['rmse']:.2f}"
    truth = image.sample["depth"], image.sample["mask"]
    return drawing.panel(image.sample["picture"], *truth, image.prediction, text)
