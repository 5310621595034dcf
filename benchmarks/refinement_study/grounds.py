"""What the study is trained and scored on: rendered scenes, or photos of NYU with thinned truth."""

import argparse
import dataclasses
import pathlib
from typing import Protocol

from ml_collections import ConfigDict

from benchmarks import nyu_labeled
from diffdepth_jax.configs import frozen_features, frozen_samples, synthetic
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.datasets.sources import EvaluationSets, create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.camera import NYU
from diffdepth_jax.whole_files import whole_file

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "refinement_study"
SCENE_SEED = 0  # of training and held-out scenes, as in the README, whatever a training's seed
CALIBRATION_SEED = 12  # of the scenes that calibrations are fitted to
CALIBRATION_SCENES = 100  # of each kind
SCENES_ONLY = ("before", "unet")  # rows without a frozen backbone
PERCENT = (100, 4, 1)  # of a photo's pixels that keep their ground truth


class Ground(Protocol):
    """Pictures to train on, to fit calibrations to, and to score.

    Attributes:
      num_steps: updates from the start.
      late_steps: updates of a row that goes on from another.
      temperature: of rows that draw samples, if they say none.
      stride: of the pixels at which uncertainties are compared.
    """

    num_steps: int
    late_steps: int
    temperature: float
    stride: int

    def recipe(self) -> ConfigDict:
        """The configuration of which the rows of the study change fields."""
        ...

    def sources(self, config: Configuration) -> tuple[Source, EvaluationSets]:
        """(training pictures, the pictures that scores are of), whatever a training's seed."""
        ...

    def calibration(self, config: Configuration) -> EvaluationSets:
        """Pictures that nothing was trained on, and that are not scored."""
        ...


class Scenes:
    """Rendered rooms and streets, with the recipe of the quick start: 12,000 pictures."""

    num_steps, late_steps = 3000, 800  # of batches of 4
    temperature = 0.6
    stride = 1

    def recipe(self) -> ConfigDict:
        return synthetic.get_config()

    def sources(self, config: Configuration) -> tuple[Source, EvaluationSets]:
        return create_sources(config.data, SCENE_SEED)

    def calibration(self, config: Configuration) -> EvaluationSets:
        fields = dataclasses.replace(config.data.synthetic, num_eval=CALIBRATION_SCENES)
        data = dataclasses.replace(config.data, synthetic=fields)
        return create_sources(data, CALIBRATION_SEED)[1]


@dataclasses.dataclass(frozen=True)
class Photos:
    """The labelled set of NYU on kept features of a frozen EfficientNet-Lite0.

    Attributes:
      data: the folder with train.txt and test.txt, see `benchmarks.nyu_labeled`.
      weights: the file of the backbone's weights.
      workdir: gets the lists, and the features, which all trainings share.
      fraction: of the pixels of a training picture that keep their ground truth.
    """

    data: pathlib.Path
    weights: str
    workdir: pathlib.Path
    fraction: float = 1.0

    num_steps, late_steps = 900, 400  # of batches of 8
    temperature = 0.9
    stride = 4  # of 480x640: as many pixels as the network gives

    def recipe(self) -> ConfigDict:
        config = frozen_samples.samples_around(frozen_features.get_config())
        config.loss.samples, config.loss.own_noise = 1, False  # rows set what they need
        config.sampler.global_noise, config.sampler.temperature = 0.0, 1.0
        config.data.folder.root = str(self.data)
        config.data.folder.list_file = self._lists()[0]
        config.data.folder.eval_list_file = str(self._scored())
        config.model.backbone = "efficientnet_lite0"
        config.model.freeze_statistics = True
        config.model.neck = "fpn"
        config.sampler.remat = False
        config.model.sharpen = 2
        config.model.backbone_weights = self.weights
        config.frame.size = config.augmentation.crop_size = (120, 160)
        config.frame.focal_length = NYU.fx * 160 / 640
        config.augmentation.valid_pixel_fraction = self.fraction
        config.train.features_dir = str(self.workdir / "features")
        config.evaluation.protocol = "nyu_eigen"
        config.optimizer.learning_rate = 1e-3
        config.optimizer.freeze = "backbone/.*"
        return config

    def sources(self, config: Configuration) -> tuple[Source, EvaluationSets]:
        return create_sources(config.data, config.seed)  # which draws nothing here

    def calibration(self, config: Configuration) -> EvaluationSets:
        folder = dataclasses.replace(config.data.folder, eval_list_file=self._lists()[1])
        return create_sources(dataclasses.replace(config.data, folder=folder), config.seed)[1]

    def _lists(self) -> tuple[str, str]:
        """Training list without the held-out blocks, and these."""
        return nyu_labeled.lists(self.data, self.workdir, held_out=True)

    def _scored(self) -> pathlib.Path:
        """The list of every third test image: all of them would take longer than training."""
        lines = (self.data / "test.txt").read_text().splitlines()
        path = self.workdir / "scored.txt"
        with whole_file(path) as partial:
            partial.write_text("\n".join(lines[::3]) + "\n")
        return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `chosen` reads."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--nyu", type=pathlib.Path, help="folder of the photos; else scenes")
    parser.add_argument("--weights", default="", help="with --nyu: file of EfficientNet-Lite0")
    parser.add_argument(
        "--percent", type=int, choices=PERCENT, default=100, help="with --nyu: of truth to see"
    )
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)


def chosen(given: argparse.Namespace) -> tuple[Ground, pathlib.Path, pathlib.Path]:
    """The ground, the folder of its runs and the folder of its results.

    Raises:
      UserError: photos without the weights of their backbone, or with a row for scenes alone.
    """
    if given.nyu is None:
        return Scenes(), given.workdir, given.results
    if not given.weights:
        raise UserError("--nyu needs --weights, the file of the backbone's weights")
    if getattr(given, "name", "") in SCENES_ONLY:
        raise UserError(f"{given.name}: has no frozen backbone, which --nyu needs; leave --nyu out")
    photos = Photos(given.nyu, given.weights, given.workdir, given.percent / 100)
    name = f"nyu_{given.percent}"
    return photos, given.workdir / name, given.results / name
