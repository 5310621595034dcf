"""docs/method_study.md, from the result files alone."""

import os
import pathlib

from benchmarks.method_study import baselines, plots, results, tables
from benchmarks.method_study.results import Found
from benchmarks.method_study.variants import ROWS, SCENE_SEED, VARIANTS

INTRODUCTION = """# Method study

Which parts of the method make predictions better? This study trains small models that differ in
one choice, on rendered rooms and streets. [results.md](results.md) has a summary.

## How the numbers were made

- **Default.** It is an earlier `configs/synthetic.py` (`benchmarks/earlier_recipe.py`) with the
  budget of this study. Its sampler is trained as in `configs/default.py`.
- **Budget.** Every variant sees {seen} images of {height}x{width} pixels, taken from {train}
  scenes. The scenes have the seed {scene_seed}; those of [results.md](results.md) have another.
- **Ground truth.** It is dense on rooms and streets alike. How many of its pixels training sees is
  a factor (row 2).
- **Backbone.** Every training starts from the same backbone, as real recipes start from ImageNet
  weights. This backbone was trained by `direct` (row 1) with dense ground truth, on {pretraining}
  images of scenes of another seed. It is frozen, so the study compares the parts above it.
- **Scores.** A number is a mean over {images} held-out scenes of each kind, then the mean ±
  standard deviation over seeds. Unless a table says otherwise, the sampler makes as many steps as
  in training.
- **Limits.** The models are small, the trainings short and the pictures small. The differences show
  what the parts do under this budget. The numbers compare with nothing outside this study.

The JSON files in [{folder}]({folder}) hold the results, one training each:

- the fields that differ from the default (`overrides`), and the whole configuration (`config`)
- the seed, the scores at every number of sampler steps, and the wall time
- the revision and the command that made it (a variant may have had another name then)

`python -m benchmarks.method_study --report` writes this page from these files.

## Metrics of this page

The other metrics are those of [evaluating.md](evaluating.md#metrics).

- `boundary F1` is the scale-invariant boundary F1 of Depth Pro (arXiv 2410.02073).
- `abs_rel at edges` is abs_rel within a pixel of an edge. An edge is between neighbours whose
  depths differ by more than 25 % (`diffdepth_jax/evaluation/edges.py`).

## Pictures
"""

HEADINGS = {
    "1 baselines": "Direct regression and simple baselines",
    "6 released recipe": "The recipes of the released code and of the paper",
    "2 target of diffusion": "What is diffused, with dense and sparse ground truth",
    "3 sampler": "Sampler steps, prediction type, timesteps, start",
    "3 how the sampler is trained": "How the sampler is trained",
    "3 prediction type and training steps": "Prediction types with other numbers of steps",
    "4 losses": "Losses",
    "5 codec and block": "Codec and denoising block",
}
NOTES = {
    "1 baselines": """- `direct` is a feed-forward head: direct regression. It has the same
  backbone, neck, denoiser and decoder. The denoiser is evaluated once, on zeros at one timestep, so
  that no noise enters. There is no denoising loss.
- `direct_pixel_only` is the same without latent and reconstruction loss.
- Constant and mean map are fitted to the training scenes of the same kind, at the study's size.""",
    "6 released recipe": """Both recipes use the backbone, neck, optimizer and budget of this study.

- `released` is the recipe of the released code: its codec and denoiser (with the non-negative
  head), epsilon prediction, linear schedule, 20 leading steps, no clipping, a target that is not
  detached, no latent loss, and L1 + L2 on metres.
- `paper` is the paper as it describes itself, as in `configs/paper.py`, with the denoiser and codec
  of this project. One field differs: lambda of SILog is .3 in all of this study.""",
    "2 target of diffusion": """The number in a name is the percentage of pixels with ground truth
in training. They are the same pixels in each epoch. `default` is `self` with 100 %.

| name | clean sample of the denoising loss | pixel and latent losses through the sampler |
| --- | --- | --- |
| `self` | the model's refined latent | yes |
| `truth` | the encoded ground truth | yes |
| `none` | there is no denoising loss | yes |
| `truth_only` | the encoded ground truth, as in ordinary diffusion | no |""",
    "3 sampler": """The default predicts the sample and starts from noise. Training takes 2 steps at
random timesteps, with pixel losses on both, and a denoising loss of weight 10. Prediction visits
trailing timesteps of the cosine schedule. Each variant changes one of these. In these tables each
makes as many steps as in training.

- `sample`, `epsilon` and `v` are prediction types. The number after `steps` is the number of steps
  in training.
- `leading` has leading timesteps. `zeros` starts from zeros.""",
    "3 how the sampler is trained": """These variants lead from the plain way to the default. Each
adds one thing to the variant above it:

| name | adds |
| --- | --- |
| `plain` | timesteps of inference in training, pixel losses on the last step, denoising weight 1 |
| `every_step` | pixel losses on the depth of every step |
| `random` | the first timestep is the noisiest; the others are drawn at random for each image |
| `default` | denoising weight 10 |

`last_step` is the default with pixel losses on the last step's depth. `random_zeros` is `random`
with a sampler that starts from zeros. A number after `steps` counts the steps in training.""",
    "3 prediction type and training steps": """The names are built as before: `epsilon_steps_5` has
epsilon prediction and 5 steps in training.

- `steps_5_zeros` has 5 steps and starts from zeros.
- `linear` has the linear schedule.
- `no_clip` does not clip the clean latent.""",
    "4 losses": """Each variant changes one thing of the default:

- `pixel_only` has no denoising, latent or reconstruction loss.
- `gradient_1_of_5` has 5 steps, and the gradient goes through the last one.""",
    "5 codec and block": """Each variant changes one thing of the default. Latents of H/2 against
latents of H/4 were not run: the configuration has no field for it.""",
}
UNCERTAINTY = """Does the spread of samples show where the error is?

- The spread is the standard deviation of log depth over an ensemble of starting noises.
- Spearman is the rank correlation of the spread with the error of the median, pixel by pixel in
  each image.
- AUSE is the area between two sparsification curves: one leaves pixels out by their spread, the
  other by their error (Ilg et al. 2018). 0 is perfect."""
STEPS = """The first table says how far abs_rel at 1, 5 and 20 steps is above the best of 1 to 20
steps, without retraining. The default has to meet three limits: 5 steps at most 2 %, 1 step at most
10 % and 20 steps at most 5 % above the best. The other tables hold abs_rel at each number of
steps."""


def write(directory: str | os.PathLike) -> pathlib.Path:
    """Draws the pictures and writes the page beside the results' folder; returns its path."""
    directory = pathlib.Path(directory)
    found = results.read_all(directory)
    found = {name: found[name] for name in VARIANTS if name in found}
    path = directory.parent.with_suffix(".md")
    if not found:
        raise SystemExit(f"error: {directory} holds no result: run trainings first")
    pictures = plots.draw_all(found, directory)
    path.write_text(compose(found, pictures, directory) + "\n")
    return path


def compose(found: Found, pictures: list[tuple[str, str]], directory: pathlib.Path) -> str:
    folder = f"{directory.parent.name}/{directory.name}"
    parts = [_introduction(found, folder)]
    parts += [
        f"![{caption}]({directory.parent.name}/{name})\n\n*{caption}*" for name, caption in pictures
    ]
    for row in ROWS:
        parts += [f"## {HEADINGS[row]} (row {row[0]})", NOTES[row]]
        parts += [tables.row_table(row, found, kind) for kind in tables.KINDS]
        parts += _extra(row, found, directory)
    parts += ["## Uncertainty (row 7)", _uncertainty(found)]
    parts += ["## Accuracy at other numbers of steps", *_steps(found)]
    parts += ["## Cost and files", tables.cost_table(found)]
    return "\n\n".join(parts)


def _introduction(found, folder):
    first = next(iter(found.values()))[0]
    config, backbone = first["config"], first["pretraining"]["config"]
    return INTRODUCTION.format(
        folder=folder,
        scene_seed=SCENE_SEED,
        images=config["data"]["synthetic"]["num_eval"],
        height=config["data"]["synthetic"]["height"],
        width=config["data"]["synthetic"]["width"],
        train=config["data"]["synthetic"]["num_train"],
        pretraining=backbone["train"]["batch_size"] * backbone["train"]["num_steps"],
        seen=config["train"]["batch_size"] * config["train"]["num_steps"],
    ).rstrip()


def _extra(row, found, directory):
    if row.startswith("1"):
        return [tables.baseline_table(baselines.read(directory))]
    if row.startswith("2"):
        return [
            tables.sparsity_table(found, kind, metric)
            for kind in tables.KINDS
            for metric in ("abs_rel", "boundary_f1")
        ]
    return []


def _uncertainty(found):
    if not any("uncertainty" in result for rows in found.values() for result in rows):
        return "Not run."
    return f"{UNCERTAINTY}\n\n{tables.uncertainty_table(found)}"


def _steps(found):
    return [
        STEPS,
        tables.excess_table(found, VARIANTS),
        *(tables.steps_table(found, kind, VARIANTS) for kind in tables.KINDS),
    ]
