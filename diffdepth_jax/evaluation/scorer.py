"""Scores any predictor on the evaluation sets of a configuration."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from diffdepth_jax.configuration.data import fields_of_part
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets import pipeline, transforms
from diffdepth_jax.datasets.canonical import METRES, CanonicalCamera
from diffdepth_jax.datasets.ground_truth import LIMITS, check_ground_truth
from diffdepth_jax.datasets.samples import EvaluationSample, Sample
from diffdepth_jax.datasets.sources import EvaluationSets
from diffdepth_jax.distributed import processes
from diffdepth_jax.evaluation import breakdown, predictors, scoring
from diffdepth_jax.evaluation.report import protocol_of
from diffdepth_jax.evaluation.scoring import (
    Batches,
    Means,
    Prediction,
    Predictor,
    Row,
    ScoredImage,
)
from diffdepth_jax.evaluation.uncertainty_report import ScoreMaps
from diffdepth_jax.media.panels import panel as draw_panel
from diffdepth_jax.program.interruption import telling

_BASELINES = (
    ("best constant", predictors.constant_predictor),
    ("mean map", predictors.mean_map_predictor),
)


class Scorer:
    """Scores predictors by the protocol of each set; knows of no model.

    Of several processes each scores its share of a set, and all return all rows.

    Args:
      config: the configuration.
      sources: the evaluation sets.
      batch_size: samples that a predictor gets at a time; default: the configuration's.
    """

    def __init__(
        self, config: Configuration, sources: EvaluationSets, batch_size: int | None = None
    ):
        self._config, self._sources = config, sources
        self._batch_size = batch_size or config.evaluation.batch_size
        self._protocols = {name: protocol_of(config, name) for name in sources}

    @property
    def sets(self) -> dict[str, int]:
        """{name of an evaluation set: number of its images}."""
        return {name: len(source) for name, (_, source) in self._sources.items()}

    def check_ground_truth(self, camera: CanonicalCamera = METRES) -> None:
        """Refuses a set whose ground truth is not within the protocol's limits, after a look.

        Refused is also a set without the focal lengths that the units of a model need, with frames
        that the protocol is not for, or with names that tell no scenes where scenes are asked for.
        `score` would find it out too, but after all predictions. All processes fail together.
        """
        for name, (_, source) in self._sources.items():
            with fields_of_part(self._config.data.part_of(name)):
                processes.in_first(
                    check_ground_truth,
                    source,
                    f"evaluation set {name!r}",
                    self._protocols[name].truth,
                    limits_of=self._limits_of(name),
                    camera=camera,
                    check=partial(self._check_scored, name),
                )

    def _limits_of(self, name: str) -> str:
        protocol = self._protocols[name]
        return f"the limits of protocol {protocol.name}" if protocol.is_fixed else LIMITS

    def _check_scored(self, name: str, sample: Sample) -> None:
        self._protocols[name].mask(*sample["depth"].shape[:2])
        if self._config.evaluation.by_scene:
            breakdown.scene_of(sample.get("name", ""))

    def score(
        self,
        name: str,
        predict: Predictor,
        *,
        input_crop: str | None = None,
        panels: list[np.ndarray] | None = None,
        holes: bool = False,
        score_maps: ScoreMaps | None = None,
    ) -> list[Row]:
        """Scores a predictor on one set.

        Args:
          name: of the set.
          predict: see `scoring.Predictor`.
          input_crop: the part of a frame that predictions cover; default: frame.input_crop.
          panels: a list that gets the pictures of the first evaluation.num_panels images.
          holes: whether predictions may have pixels without depth, see `scoring.score_images`.
          score_maps: scores the further maps of predictions, see `scoring.score_images`.

        Returns:
          {"index", "name", "valid", "holes", metric: value ...} of each image, see `ScoredImage`.
        """
        rows, indices = [], processes.share(self.sets[name])
        fields = {"input_crop": input_crop, "holes": holes, "score_maps": score_maps}
        with telling(lambda: f"{len(rows)} of {len(indices)} images of {name} scored"):
            for image in self.images(name, predict, indices, **fields):
                rows.append({"index": image.index, "name": image.name, **image.values})
                if panels is not None and image.index < self._config.evaluation.num_panels:
                    panels.append(panel(image, titled=not panels))
        return processes.gather(rows)

    def images(
        self,
        name: str,
        predict: Predictor,
        indices: range,
        *,
        input_crop: str | None = None,
        **fields: Any,
    ) -> Iterator[ScoredImage]:
        """Yields these images of a set, scored; for the arguments see `score`."""
        return scoring.score_images(
            predict,
            self._batches(name, indices),
            protocol=self._protocols[name],
            input_crop=self._config.frame.input_crop if input_crop is None else input_crop,
            first=indices.start,
            distances=self._config.evaluation.distances,
            **fields,
        )

    def means(self, name: str, rows: list[Row]) -> Means:
        """{metric: mean over images} of what `score` returned of a set, see also `breakdown`."""
        means = scoring.mean_over_images(rows, self._protocols[name])
        return means | (breakdown.over_scenes(rows) if self._config.evaluation.by_scene else {})

    def frames(
        self, name: str, predict: Predictor
    ) -> Iterator[tuple[int, EvaluationSample, Prediction]]:
        """Yields (index, sample, metres [H, W, C]) of each image of a set, unscored."""
        batches = self._batches(name, range(self.sets[name]))
        return scoring.predict_frames(
            predict, batches, self._config.frame.input_crop, resize=self._protocols[name].resize
        )

    def with_baselines(
        self, results: Mapping[str, Means], others: Mapping[str, Mapping[str, Means]] = {}
    ) -> Mapping[str, Means]:
        """A model's results as rows of a table, with the baselines' rows if the config asks.

        `others` are results of other models by their titles, which get rows beside them.
        """
        if not self._config.evaluation.baselines:
            return results
        rows = {}
        for name, (train_source, _) in self._sources.items():
            rows[f"{name}: this model"] = results[name]
            rows |= {f"{name}: {title}": other[name] for title, other in others.items()}
            for title, fit in _BASELINES:
                images = self.score(name, fit(train_source, partial(self._fitted, name)))
                rows[f"{name}: {title}"] = self.means(name, images)
        return rows

    def _fitted(self, name: str, sample: Sample) -> Sample:
        """A training sample at the size at which models predict, not augmented."""
        frame = self._config.frame
        sample = pipeline.fit(pipeline.cut(sample, frame.input_crop), frame.size)
        padded = transforms.pad_to(sample, frame.size)
        return transforms.valid_range(padded, *self._protocols[name].truth)

    def _batches(self, name: str, indices: range) -> Batches:
        min_depth, max_depth = self._protocols[name].truth
        return pipeline.evaluation_batches(
            self._sources[name][1],
            indices,
            batch_size=self._batch_size,
            size=self._config.frame.size,
            input_crop=self._config.frame.input_crop,
            min_depth=min_depth,
            max_depth=max_depth,
        )


def panel(image: ScoredImage, program: str = "", *, titled: bool = True) -> np.ndarray:
    """A picture of one image: itself, ground truth, prediction and error, [H, W, 3]."""
    scores = f"abs_rel {image.values['abs_rel']:.3f}, rmse {image.values['rmse']:.2f} m"
    return draw_panel(
        image.sample["picture"],
        image.sample["depth"],
        image.sample["mask"],
        image.prediction,
        name=image.name,
        scores=f"{program}: {scores}" if program else scores,
        titled=titled,
    )
