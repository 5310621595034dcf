"""The evaluation of a configuration: its sets, its protocol, its baselines, its pictures."""

import functools

import jax

from diffdepth_jax import evaluate, input_pipeline, transforms, visualize


class Evaluator:
    """Scores variables, or any predictor, on the evaluation sets of a configuration."""

    def __init__(self, config, model, schedule, sources, mesh):
        self.model, self.schedule = model, schedule
        self._config, self._sources = config, sources
        self._batch_size = -(-config.evaluation.batch_size // mesh.size) * mesh.size
        self._predict_step = evaluate.create_predict_step(model, schedule, config.sampler, mesh)
        self._limits = {
            "min_depth": config.inference.min_depth, "max_depth": config.inference.max_depth
        }  # fmt: skip

    def evaluate(self, variables, log=None, step=0):
        """{set: metrics} of these variables; a log gets them, and panels of the first images."""
        key = jax.random.key(self._config.seed)
        predict = evaluate.model_predictor(self._predict_step, variables, key, self._batch_size)
        results = {}
        for name in self._sources:
            panels = []
            results[name] = self._score(name, predict, functools.partial(self._keep, panels))
            if log is not None:
                log.scalars(step, **{f"{name}/{key}": v for key, v in results[name].items()})
                log.panels(name, step, panels)
        return results

    def with_baselines(self, results):
        """`results` as rows of a table, those of the baselines between if the config asks."""
        if not self._config.evaluation.baselines:
            return results
        rows = {}
        for name, (train_source, _) in self._sources.items():
            rows[f"{name}: this model"] = results[name]
            for title, fit in (
                ("best constant", evaluate.constant_predictor),
                ("mean map", evaluate.mean_map_predictor),
            ):
                rows[f"{name}: {title}"] = self._score(name, fit(train_source, self._fitted))
        return rows

    def _fitted(self, sample):
        """A training sample at the size at which models predict, not augmented."""
        size = self._config.inference.size
        sample = input_pipeline.fit(sample, size)
        return transforms.valid_range(transforms.pad_to(sample, size), **self._limits)

    def _score(self, name, predict, on_image=None):
        batches = input_pipeline.evaluation_batches(
            self._sources[name][1],
            batch_size=self._batch_size,
            size=self._config.inference.size,
            **self._limits,
        )
        return evaluate.evaluate_batches(
            predict, batches, crop=self._config.evaluation.crop, on_image=on_image, **self._limits
        )

    def _keep(self, panels, index, sample, prediction, values):
        if index < self._config.train.num_panels:
            text = f"abs_rel {values['abs_rel']:.3f}, rmse {values['rmse']:.2f}"
            truth = sample["depth"], sample["mask"]
            panels.append(visualize.panel(sample["picture"], *truth, prediction, text))
