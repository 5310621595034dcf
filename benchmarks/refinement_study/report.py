"""Writes docs/refinement_study.md from the result files.

python -m benchmarks.refinement_study.report
"""

import itertools
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.refinement_study.grounds import PERCENT, RESULTS
from benchmarks.refinement_study.rows import ROWS, SAMPLER_STEPS

PAGE = RESULTS.with_suffix(".md")
INTRODUCTION = """# Does refinement earn its steps?

This page compares models that see the same rendered pictures: the recipe of the quick start
(`configs/synthetic.py`), the one that it had before, the same without diffusion, with samples
around it, and a plain U-Net. `python -m benchmarks.refinement_study.report` writes it from the
JSON files in [refinement_study](refinement_study), one training each. A later part has photos of
NYU.

    python -m benchmarks.refinement_study.training NAME --seed=0 --workdir=DIR
    python -m benchmarks.refinement_study.uncertainty --seed=0 --seeds 0 1 2 --workdir=DIR

- **Rows.** [rows.py](../benchmarks/refinement_study/rows.py) has the fields that differ. `before`
  is the recipe until this study; `synthetic` today's; `feed_forward` today's without diffusion.
  `late_` rows go on from `feed_forward` with 800 more updates, so that they compare with each
  other: as the feed-forward model that it is, with a Laplace scale, or with samples. With samples
  the denoiser alone learns, in the others all but the image encoder.
- **Start.** As the quick start, rows begin with the image encoder of `synthetic_small`, which saw
  other scenes of the same kinds, and keep it. `before` and `unet` begin with nothing: what they
  lose beside the others is not the design's merit alone. `no_detail` keeps an encoder that was
  trained beside a path of details: what it loses is not the path's merit alone.
- **Pictures.** Training sees 12,000 pictures of 64x96 pixels (`late_` rows: 15,200), rooms and
  streets in turn. The 200 held-out scenes of each kind are those of the README. The design was
  chosen on scenes of seed 11; of `late_unfrozen` temperature and noise on these very scenes, with
  the training of seed 0. Streets are scored at the pixels of a LiDAR; edges at all pixels of known
  depth.
- **Minutes** are those of two cores with other work on them.
- Rows that say "not run" were not run. With several seeds: mean ± standard deviation.

`aligned_` stands for scores after median alignment, which leaves the scale of the picture out.
The scores are those of [evaluating.md](evaluating.md#metrics) and
[uncertainty.md](uncertainty.md).

In the tables of steps "one" is a sample that starts from noise, "middle" one that starts from zeros
(`sampler.start`).

Competitors give 16 members, too (`flips` 2, `seeds` the models of three trainings). `samples` are
those of `late_samples`. `laplace` draws each pixel by itself from the scale that the network
predicts, `laplace_together` all pixels with one quantile. `one_width`, `row` and `depth` draw from
the feed-forward model's errors on other scenes: of all pixels, of those of the same row, of those
of about the same predicted depth. `borrowed` adds whole error maps of other scenes of the same
kind. All are stretched by one factor and get conformal widths on 100 rooms and 100 streets of seed
12. `crps` and `interval_score` are of log depth: lower is better."""
KINDS = ("rooms", "streets")
PHOTOS = """## Photos of NYU

Rows on the labelled set of NYU Depth V2 at 120x160, on kept features of a frozen
EfficientNet-Lite0 and without details of the image, which such features do not have; one seed.
`feed_forward` has 900 updates of 8 pictures, `late_` rows 400 more. Training sees 675 pictures,
and of their ground truth 100, 4 or 1 % of the pixels. Scored are every third of the 654 test
images, whole, in the Eigen crop; calibrations are fitted to 120 training images of other rooms,
which no model saw. The share of common noise was chosen on rendered scenes, the temperature of
0.9 on those 120 images: of the rendered scenes' 0.6 raw intervals held 0.45 of their pixels, of
0.8 0.56, of 0.9 0.60 ([trials](refinement_study/trials/nyu_temperature.json)). Samples at 0.6 had
scored the test images before; the competitors at 4 % are of these. Backbone, neck and losses are
those of earlier trials ([results.md](results.md)), some of which scored them, too. Competitors
are compared at every fourth pixel of a row and column: their cells of 8x8 are of 32x32 pixels.

    python -m benchmarks.refinement_study.training NAME --workdir=DIR \\
        --nyu=DIR --weights=efficientnet-lite0-57934424.pth --percent=4
    python -m benchmarks.refinement_study.uncertainty --seeds 0 --workdir=DIR \\
        --nyu=DIR --weights=efficientnet-lite0-57934424.pth --percent=4"""
TRIALS = """## Trials by which the design was chosen

On other scenes (seed 11), one seed each. [refinement_study/trials](refinement_study/trials) has the
files. The first three are of commit c9f695b, the last of 0e7298e. Losses are those of log depth,
but for `before`.

| model | updates | abs_rel rooms | streets | F1 rooms | streets |
| --- | --- | --- | --- | --- | --- |
| `before` | 3200 | .235 | .251 | .013 | .152 |
| U-Net, the same losses | 3200 | .194 | .150 | .022 | .234 |
| feed-forward, details at strides 1 and 2 only | 3200 | .260 | .234 | .028 | .246 |
| feed-forward, details at strides 2 to 32, DPT neck | 2400 | .267 | .211 | .007 | .161 |

- Details at strides 1 and 2 alone do little: in so short a training a Swin that starts from
  nothing is what limits. With convolutions down to stride 32 beside it, see `feed_forward` above.
- Without a map at stride 1 the edges are lost.

Samples, on 60 rooms and 60 streets of seed 11, training of seed 0, 800 updates each, temperature
0.55 ([samples.json](refinement_study/trials/samples.json)):

| rooms / streets | `late_feed_forward` | samples |  |  |  |
| --- | --- | --- | --- | --- | --- |
| what learns | neck, head, decoder | neck, denoiser, decoder | denoiser | denoiser | denoiser |
| sampler.global_noise | - | 1 | 1 | 1 | 0.8 |
| loss.weights.ddim | - | 1 | 1 | 0.1 | 1 |
| abs_rel, median of 16 | .144 / .096 | .145 / .096 | .148 / .097 | .145 / .097 | .147 / .096 |
| abs_rel, one sample | - | .173 / .123 | .187 / .122 | .181 / .116 | .185 / .119 |
| boundary F1, median | .195 / .337 | .187 / .243 | .199 / .325 | .193 / .340 | .196 / .337 |
| raw coverage | - | .63 / .79 | .56 / .70 | .53 / .67 | .58 / .70 |
| raw CRPS | - | .102 / .073 | .105 / .074 | .106 / .075 | .105 / .074 |
| rank correlation | - | .14 / .39 | .05 / .39 | .00 / .30 | .04 / .36 |

Neck and decoder that learn with the denoiser lose the edges of streets, where LiDAR teaches no
pixel above its beams. (Which of the two does was not tried.) `late_samples` is the last column, at
a temperature of 0.6, because its raw intervals are too narrow in rooms; `late_unfrozen` is the
column of neck, denoiser and decoder.

Earlier, with neck and decoder that learn, on the 200 scenes themselves:

| rooms / streets | half of the noise common to all cells, temperature 0.7 | all common, 0.55 |
| --- | --- | --- |
| abs_rel, median of 16 | .148 / .109 | .143 / .110 |
| abs_rel, one sample | .179 / .138 | .176 / .142 |
| boundary F1, median | .228 / .279 | .229 / .243 |
| raw coverage (half: of 60 scenes each) | .67 / .78 | .64 / .75 |
| CRPS, calibrated | .107 / .084 | .103 / .086 |
| CRPS of 8x8 cells | .102 / .077 | .097 / .079 |

At temperature 1 and without pairs the median of 16 of the first form was .149 and .114 on 100
scenes of each kind, one sample .187 and .159.
"""
COLUMNS = ("abs_rel", "aligned_abs_rel", "d1", "boundary_f1", "aligned_edge_abs_rel")
SPREAD = (
    "coverage",
    "interval_score",
    "crps",
    "crps_8x8",
    "crps_image",
    "spread_rank",
    "spread_rank_ceiling",
    "image_rank",
)
COMPARED = ("crps", "crps_8x8", "crps_image", "interval_score", "coverage")
Result = dict[str, Any]


def read(directory: pathlib.Path) -> dict[str, list[Result]]:
    """{row: its results by seed}, in the order of ROWS; rows that were not run have none."""
    paths = {name: sorted(directory.glob(f"{name}-seed*.json")) for name in ROWS}
    return {name: [json.loads(path.read_text()) for path in found] for name, found in paths.items()}


def cell(values: Sequence[float | None], digits: int = 3) -> str:
    """Mean, and standard deviation over seeds if there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{np.mean(known):.{digits}f}"
    return text if len(known) == 1 else f"{text} ± {np.std(known, ddof=1):.{digits}f}"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table of Markdown."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def photos(directory: pathlib.Path) -> list[str]:
    """The sections of each share of ground truth."""
    parts, kind = [], "eval"
    for percent in PERCENT:
        folder = directory / f"nyu_{percent}"
        found = {name: results for name, results in read(folder).items() if results}
        if found:
            parts += [
                f"### {percent} % of the ground truth",
                "\n".join(accuracy(found, kind)),
                "\n".join(steps_of(found, (kind,))),
                "\n".join(spread(found, (kind,))),
                "\n".join(competitors(folder, (kind,))),
            ]
    return [PHOTOS, *parts] if parts else []


def _scores(results: Sequence[Result], steps: str, kind: str, name: str) -> list[float | None]:
    return [x["scores"][steps][kind].get(name) for x in results if steps in x["scores"]]


def accuracy(found: dict[str, list[Result]], kind: str) -> list[str]:
    """Of one prediction: a single sample, with as many sampler steps as in training."""
    rows = []
    for name, results in found.items():
        steps = str(ROWS[name].overrides.get("sampler.num_steps", 1))
        scores = [cell(_scores(results, steps, kind, column)) for column in COLUMNS]
        minutes = cell([x["train_seconds"] / 60 for x in results], 0)
        images = f"{results[0]['images_seen']:,}" if results else "not run"
        rows.append([f"`{name}`", images, minutes, *scores])
    return table([kind, "images", "minutes", *COLUMNS], rows)


def steps_of(found: dict[str, list[Result]], kinds: Sequence[str] = KINDS) -> list[str]:
    """abs_rel and boundary F1 by the number of sampler steps, and of the median of 16 samples."""
    rows, steps = [], [str(steps) for steps in SAMPLER_STEPS]
    ways = [*steps, "ensemble"]
    for name, results in found.items():
        for sample, prefix in (("one", ""), ("middle", "middle ")):
            known = any(f"{prefix}1" in result["scores"] for result in results)
            if ROWS[name].kind != "diffusion" or not known:
                continue
            for kind, column in itertools.product(kinds, ("abs_rel", "boundary_f1")):
                scores = [cell(_scores(results, f"{prefix}{way}", kind, column)) for way in ways]
                rows.append([f"`{name}`", sample, kind, column, *scores])
    return table(["row", "sample", "scenes", "", *ways], rows)


def spread(found: dict[str, list[Result]], kinds: Sequence[str] = KINDS) -> list[str]:
    """Of 16 samples as they are drawn."""
    rows = []
    for name, results in found.items():
        if ROWS[name].kind == "diffusion" and results:
            for kind in kinds:
                scores = [cell(_scores(results, "ensemble", kind, x)) for x in SPREAD]
                rows.append([f"`{name}`", kind, *scores])
    return table(["row", "scenes", *SPREAD], rows)


def competitors(directory: pathlib.Path, kinds: Sequence[str] = KINDS) -> list[str]:
    """Calibrated competitors, and the samples' CRPS divided by theirs."""
    files = sorted(directory.glob("uncertainty-seed*.json"))
    results = [json.loads(path.read_text()) for path in files]
    if not results:
        return []
    rows = []
    for kind in kinds:
        for name in results[0][kind]:
            of_name = [result[kind][name] for result in results]
            scores = [cell([x[column] for x in of_name]) for column in COMPARED]
            ratios = [x["samples_ratio"]["crps"] for x in of_name]
            ratio = " ".join(f"{x['ratio']:.3f} ({x['low']:.3f}, {x['high']:.3f})" for x in ratios)
            rows.append([kind, f"`{name}`", *scores, ratio])
    return table(["scenes", "competitor", *COMPARED, "samples / it, CRPS (95 %)"], rows)


def page(directory: pathlib.Path) -> str:
    """The whole page."""
    found = read(directory)
    parts = [
        INTRODUCTION,
        "## Accuracy and edges",
        *("\n".join(accuracy(found, kind)) for kind in KINDS),
        "## Sampler steps, without retraining, and the median of 16 samples",
        "\n".join(steps_of(found)),
        "## Spread of 16 samples as they are drawn",
        "\n".join(spread(found)),
        "## Competitors, calibrated on other scenes",
        "\n".join(competitors(directory)) or "Not run.",
        *photos(directory),
        TRIALS.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    main()
