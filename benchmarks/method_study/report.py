"""docs/method_study.md, from the result files alone."""

import pathlib

from benchmarks.method_study import baselines, plots, results, tables
from benchmarks.method_study.variants import ROWS, SCENE_SEED, VARIANTS

NOT_CONFIGURABLE = "H/2 against H/4 latents (row 5) is no field of the configuration: not run."

INTRODUCTION = """# Method study

Which part of the method earns its place, measured on rendered rooms and streets. Written from the
JSON files in [{folder}]({folder}) by `python -m benchmarks.method_study --report`; each file holds
one training: what it changes of the default (`overrides`; the default is `configs/synthetic.py`
with this study's budget, its sampler trained as `configs/default.py` says), the whole of its
configuration (`config`), seed, scores at every number of sampler steps, wall time, and the
revision and the command that made it (a variant may have had another name then). Numbers are means
over {images} held-out scenes of each kind, then mean ± standard deviation over seeds. Budget:
{height}x{width} pixels, {seen} images seen, the same for every variant, of {train} scenes (scene
seed {scene_seed}; the README's table is of another). Truth is dense on rooms and streets alike; how
many pixels training sees is a factor (row 2).

`boundary F1` is Depth Pro's scale-invariant boundary F1 (arXiv 2410.02073); `abs_rel at edges` is
abs_rel within a pixel of neighbours whose depths differ by more than 25 %
(`benchmarks/method_study/edges.py`). Unless a table says otherwise the sampler makes as many steps
as in training.

Every training starts from one backbone, as real recipes start from ImageNet weights: trained by
`direct` (below) with dense truth on {pretraining} images of scenes of another seed. What is
compared is what stands on it: the backbone itself is frozen.

These are small models, trained briefly on small pictures of our own: differences say what the parts
do under such a budget, and the numbers compare with nothing outside this study.
"""

NOTES = {
    "1 baselines": "`direct` is a feed-forward head: the same backbone, neck, denoiser and "
    "decoder, the denoiser evaluated once on zeros at one timestep, so that no noise enters; no "
    "denoising loss. `direct_pixel_only` has no latent and reconstruction loss either. Constant "
    "and mean map are fitted to the training scenes of the same kind, at the study's size.",
    "6 released recipe": "`released`: the released code's codec and denoiser (non-negative head), "
    "epsilon prediction, linear schedule, 20 leading steps, unclipped, target not detached, no "
    "latent loss, L1 + L2 on metres. `paper`: the paper as it describes itself, as in "
    "`configs/paper.py` but for SILog's lambda, .3 in all of this study, with our denoiser and "
    "codec. Both on this study's backbone, neck, optimiser and budget.",
    "2 target of diffusion": "`self`, `truth`: what the denoising loss takes for clean; `none`: no "
    "denoising loss. All three have the pixel and latent losses through the sampler. `truth_only`: "
    "diffusion as usual, the denoiser learns from encoded ground truth and nothing goes through "
    "the sampler. Percentages are of pixels with ground truth in training, the same ones each "
    "epoch.",
    "3 sampler": "One factor at a time from the default: sample prediction, 2 steps in training at "
    "random timesteps, pixel losses on both, a denoising loss of weight 10, trailing timesteps of "
    "the cosine schedule, started from noise. In this table each makes as many steps as in "
    "training.",
    "3 how the sampler is trained": "The way to the default, a thing at a time. `plain`: in "
    "training the sampler visits the timesteps of inference, pixel losses are on the last step's "
    "depth, the denoising loss has weight 1. `every_step`: pixel losses on every step's depth. "
    "`random`: moreover the first timestep is the noisiest and the others are drawn at random, for "
    "each image. `default`: moreover the denoising loss has weight 10. `last_step`: the default "
    "with pixel losses on the last step's depth.",
    "3 prediction type and training steps": "`epsilon_steps_5`: epsilon prediction, 5 steps in "
    "training. And further factors.",
    "4 losses": "One factor at a time. `pixel_only`: no denoising, latent or reconstruction loss. "
    "`gradient_1_of_5`: 5 steps, the gradient goes through the last one.",
    "5 codec and block": f"One factor at a time. {NOT_CONFIGURABLE}",
}


def write(directory):
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


def compose(found, pictures, directory):
    folder = f"{directory.parent.name}/{directory.name}"
    parts = [_introduction(found, folder)]
    parts += [
        f"![{caption}]({directory.parent.name}/{name})\n\n*{caption}*" for name, caption in pictures
    ]
    for row in ROWS:
        parts += [f"## Row {row}", NOTES[row]]
        parts += [tables.row_table(row, found, kind) for kind in tables.KINDS]
        parts += _extra(row, found, directory)
    parts += ["## Row 7 uncertainty", _uncertainty(found)]
    parts += ["## Steps", *_steps(found), "## Cost and files", tables.cost_table(found)]
    return "\n\n".join(parts)


def _introduction(found, folder):
    first = next(iter(found.values()))[0]
    config, backbone = first["config"], first["pretraining"]["config"]
    return INTRODUCTION.format(
        folder=folder,
        scene_seed=SCENE_SEED,
        images=config["data"]["num_eval"],
        height=config["data"]["height"],
        width=config["data"]["width"],
        train=config["data"]["num_train"],
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
    return (
        "Spread: standard deviation of log depth over an ensemble of starting noises; Spearman's "
        "rank correlation with the error of its median, pixel by pixel in each image. AUSE: area "
        "between the sparsification curves by spread and by error (Ilg et al. 2018); 0 is perfect."
        "\n\n" + tables.uncertainty_table(found)
    )


def _steps(found):
    return [
        "Required of the default, without retraining: 5 steps at most 2 %, 1 step at most 10 % and "
        "20 steps at most 5 % above the best of 1 to 20 steps, in abs_rel.",
        tables.excess_table(found, VARIANTS),
        *(tables.steps_table(found, kind, VARIANTS) for kind in tables.KINDS),
    ]
