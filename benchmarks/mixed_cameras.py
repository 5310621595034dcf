"""Is depth as good for cameras of other focal lengths? Measured on rendered rooms and streets.

python -m benchmarks.mixed_cameras --workdir=DIR [--output=FILE.json]

It trains feed-forward models, minutes each on two cores, from the image encoder that ships.
"canonical" sees focal lengths from .45 to 3.2 times the standard one, and learns depth of a
canonical camera. "one camera" sees the standard focal length only, and learns metres. Both are
scored on the same held-out scenes at several focal lengths. "one camera, rescaled" is the second
model with its metres times own / standard focal length, as `predict --focal_length` gives them.
"own camera" is a model for each of some focal lengths, that sees and is scored at this one alone:
what is harder for it, is harder in the scenes.

The table has abs_rel, also after median alignment, and in parentheses its ratio to that at the
standard focal length. The same command goes on after an interruption.
"""

import argparse
import json
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.evaluation.evaluator import load_evaluator
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Predictor
from diffdepth_jax.program.messages import show_messages
from diffdepth_jax.training.loop import train

FACTORS = (0.6, 0.8, 1.0, 1.2, 1.5, 1.8)  # of the standard focal length
NUM_STEPS = 1600
MODELS = {
    "canonical": {
        "data.synthetic.focal_range": (0.45, 3.2),
        "frame.canonical_focal_length": 86.4,  # the standard one of 96 columns
    },
    "one camera": {},
}
OWN = {1.0: "one camera"} | {factor: f"camera of {factor:g}" for factor in (1.5, 1.8)}
MODELS |= {
    name: {"data.synthetic.focal_range": (factor, factor)}
    for factor, name in OWN.items()
    if name not in MODELS
}
# {row: {set: abs_rel at each factor, None where the row has no model}}.
Scores = dict[str, dict[str, list[float | None]]]


def base_fields() -> ConfigDict:
    """Returns what all models have in common."""
    fields = feed_forward.get_config()
    fields.seed = 3  # other scenes than those that the encoder saw
    fields.optimizer.freeze = ""  # it knows the standard camera alone
    fields.optimizer.learning_rate = 7e-4
    fields.data.synthetic.num_train = 20_000  # no scene twice
    fields.train.num_steps = fields.train.evaluate_every = NUM_STEPS
    return fields


def create_config(name: str, factor: float = 1.0) -> Configuration:
    """Returns a model's configuration, evaluated at a factor of the standard focal length."""
    fields = base_fields()
    fields.evaluation.baselines = False
    fields.data.synthetic.eval_focal_range = (factor, factor)
    fields.update_from_flattened_dict(MODELS[name])
    return groups.read(fields)


def rescaled(predict: Predictor, factor: float) -> Predictor:
    """Returns a predictor whose metres are `factor` times those of another."""

    def predict_rescaled(samples, first):
        return [np.float32(factor) * depth for depth in predict(samples, first)]

    return predict_rescaled


def score(name: str, predict: Predictor, factor: float) -> dict[str, float]:
    """Returns abs_rel on the held-out scenes at a factor of the standard focal length.

    Of each set {"set": as it is, "set, aligned": after median alignment}.
    """
    config = create_config(name, factor)
    scorer, found = Scorer(config, create_sources(config.data, config.seed)[1]), {}
    for kind in scorer.sets:
        means = scorer.means(kind, scorer.score(kind, predict))
        found |= {kind: means["abs_rel"], f"{kind}, aligned": means["aligned_abs_rel"]}
    return found


def score_all(workdir: str | os.PathLike) -> Scores:
    """Returns the scores of the trained models in `workdir`."""
    workdir = pathlib.Path(workdir)
    predict = load(workdir, "canonical")
    rows = {"canonical": [score("canonical", predict, factor) for factor in FACTORS]}
    predict = load(workdir, "one camera")
    rows["one camera"] = [score("one camera", predict, factor) for factor in FACTORS]
    rows["one camera, rescaled"] = [
        score("one camera", rescaled(predict, factor), factor) for factor in FACTORS
    ]
    rows["own camera"] = [
        score(OWN[factor], load(workdir, OWN[factor]), factor) if factor in OWN else {}
        for factor in FACTORS
    ]
    kinds = rows["canonical"][0]
    return {
        name: {kind: [found.get(kind) for found in row] for kind in kinds}
        for name, row in rows.items()
    }


def load(workdir: pathlib.Path, name: str) -> Predictor:
    """Returns the predictor of a trained model."""
    evaluator, variables = load_evaluator(create_config(name), workdir / name)
    return evaluator.predictor(variables)


def ratios(values: Sequence[float | None]) -> list[float | None]:
    """Returns each score divided by that at the standard focal length."""
    standard = values[FACTORS.index(1.0)]
    return [value and value / standard for value in values]


def _cell(value: float | None, ratio: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ({ratio:.2f})"


def format_table(scores: Scores) -> str:
    """Returns a line for each row and set."""
    lines = [f"{'focal length / standard':<40}" + "".join(f"{x:>14g}" for x in FACTORS)]
    for name, sets in scores.items():
        for kind, values in sets.items():
            cells = zip(values, ratios(values), strict=True)
            texts = "".join(f"{_cell(value, ratio):>14}" for value, ratio in cells)
            lines.append(f"{f'{name}: {kind}':<40}{texts}")
    return "\n".join(lines)


def write(path: str | os.PathLike, scores: Scores) -> None:
    ratio = {
        name: {kind: ratios(row) for kind, row in sets.items()} for name, sets in scores.items()
    }
    report = {"jax": jax.__version__, "num_steps": base_fields().train.num_steps}
    report |= {"factors": FACTORS, "abs_rel": scores, "ratio": ratio}
    pathlib.Path(path).write_text(json.dumps(report, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed_cameras",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, help="gets the models")
    parser.add_argument("--output", help="file that gets the scores")
    flags = parser.parse_args(arguments)
    show_messages("info")
    for name in MODELS:
        train(create_config(name), pathlib.Path(flags.workdir) / name)
    scores = score_all(flags.workdir)
    print(format_table(scores))
    if flags.output:
        write(flags.output, scores)


if __name__ == "__main__":
    main()
