"""The whole objective on a tiny model: what reaches what, and what must not matter."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.method import diffusion, losses, refinement
from diffdepth_jax.method.pixel_objective import PIXEL_LOSSES, total_loss
from tests.support import tiny

NAMES = (
    "silog",
    "gradient_matching",
    "pixel_as_printed",
    "l1",
    "l2",
    "crps",
    "crps_pooled",
    "latent",
    "reconstruction",
    "ddim",
)
SAMPLER = {"num_steps": 2, "spacing": "trailing", "schedule": tiny.schedule("v_prediction")}
DROP_PATH_KEY = jax.random.key(99)
MODEL = tiny.model()
OBJECTIVE = tiny.objective(MODEL, "v_prediction")
TARGETS = ("self", "self_attached", "ground_truth")


def keys_of(size, seed=0):
    return jax.random.split(jax.random.key(seed), size)


def draw(keys, size=(13, 18)):
    return OBJECTIVE.draw(keys, *size)


def loss_terms(variables, batch, keys, num_steps=2, **overrides):
    objective = tiny.objective(MODEL, "v_prediction", sampler={"num_steps": num_steps}, **overrides)
    draws = objective.draw(keys, *batch["image"].shape[1:3])
    return objective.terms(variables, batch, draws, DROP_PATH_KEY)[0]


def weighted_loss(variables, weights, *args, **kwargs):
    terms = loss_terms(variables, *args, **kwargs)
    return total_loss(terms, weights), terms


@functools.partial(jax.jit, static_argnames="target")
def compiled_gradient(variables, weights, batch, keys, target):
    return jax.grad(weighted_loss, has_aux=True)(variables, weights, batch, keys, target=target)


def gradient_and_terms(variables, weights, batch, keys, target="self"):
    return compiled_gradient(variables, weights, batch, keys, target=target)


jitted_terms = jax.jit(
    loss_terms,
    static_argnames=(
        "target",
        "pixel_losses_on_every_step",
        "clamp_depth",
        "samples",
        "gradient_steps",
    ),
)


@jax.jit
def refine(variables, image, start):
    return refinement.refine(MODEL, variables, image, start, **SAMPLER)


def only(name):
    return {other: float(other == name) for other in NAMES}


ALL = dict.fromkeys(NAMES, 1.0)


@pytest.fixture(scope="module")
def variables():
    return tiny.init_model(MODEL)


def part(gradient, path):
    """The largest absolute gradient among a part's parameters, 'codec/encoder' for instance."""
    for name in path.split("/"):
        gradient = gradient[name]
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))


def assert_same_terms(ours, theirs, tolerance=1e-5):
    assert set(ours) == set(theirs) == set(NAMES)
    for name in NAMES:
        assert int(ours[name][1]) == int(theirs[name][1]), name
        assert float(ours[name][0]) == pytest.approx(float(theirs[name][0]), rel=tolerance), name


def slices(batch, part):
    return {name: array[part] for name, array in batch.items()}


PARTS = ("backbone", "neck", "denoiser", "codec/encoder", "codec/decoder")
THROUGH_THE_SAMPLER = ("backbone", "neck", "denoiser")
REACHED = {
    "silog": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "gradient_matching": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "pixel_as_printed": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "l1": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "l2": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "crps": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "crps_pooled": (*THROUGH_THE_SAMPLER, "codec/decoder"),
    "latent": (*THROUGH_THE_SAMPLER, "codec/encoder"),
    "reconstruction": ("codec/encoder", "codec/decoder"),
    "ddim": THROUGH_THE_SAMPLER,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_each_loss_reaches_these_parts_and_no_others(variables, name, target):
    """For ddim on ground truth: the encoder, which made the target, gets nothing from it."""
    args = variables, only(name), tiny.batch(), keys_of(2)
    gradient = gradient_and_terms(*args, target=target)[0]["params"]
    reached = tuple(path for path in PARTS if part(gradient, path) > 0)
    assert set(reached) == set(REACHED[name])


def test_the_refined_latent_as_target_is_a_constant(variables):
    """The gradient equals that of a loss whose x0 was computed before and is handed over."""
    batch, keys, schedule = tiny.batch(), keys_of(2), SAMPLER["schedule"]
    draws = jax.tree.map(lambda x: x[:, 0], draw(keys))
    noise, timestep = draws.noise, draws.timestep
    x0 = refine(variables, batch["image"], draws.start).latent

    @jax.jit
    @jax.value_and_grad
    def loss_and_gradient(variables):
        condition = MODEL.apply(variables, batch["image"], method="encode_image")
        noisy = diffusion.add_noise(schedule, x0, noise, timestep)
        prediction = MODEL.apply(variables, noisy, timestep, condition, method="denoise")
        target = diffusion.training_target(schedule, x0, noise, timestep)
        return jnp.mean((prediction - target) ** 2)

    gradient, terms = gradient_and_terms(variables, only("ddim"), batch, keys)
    total, count = terms["ddim"]
    expected, expected_gradient = loss_and_gradient(variables)
    assert float(total / count) == pytest.approx(float(expected), rel=1e-5)
    tiny.assert_trees_close(gradient, expected_gradient, 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1.0])
@pytest.mark.parametrize("target", TARGETS)
def test_invalid_depth_changes_no_loss_and_no_gradient(variables, target, value):
    batch = tiny.batch()
    spoilt = {**batch, "depth": np.where(batch["mask"], batch["depth"], np.float32(value))}
    expected, got = (
        gradient_and_terms(variables, ALL, example, keys_of(2), target=target)
        for example in (batch, spoilt)
    )
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(got))


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_without_ground_truth_is_harmless(variables, target):
    batch = tiny.batch()
    empty = {
        "image": batch["image"],
        "depth": np.full_like(batch["depth"], np.nan),
        "mask": np.zeros_like(batch["mask"]),
    }
    gradient, terms = gradient_and_terms(variables, ALL, empty, keys_of(2), target=target)
    masked = [name for name in NAMES if name != "ddim" or target == "ground_truth"]
    assert all((float(terms[name][0]), int(terms[name][1])) == (0, 0) for name in masked)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert (part(gradient["params"], "denoiser") > 0) == (target != "ground_truth")


def test_self_diffusion_needs_no_ground_truth(variables):
    batch = tiny.batch()
    empty = {**batch, "mask": np.zeros_like(batch["mask"])}
    expected = gradient_and_terms(variables, ALL, batch, keys_of(2))[1]["ddim"]
    got = gradient_and_terms(variables, ALL, empty, keys_of(2))[1]["ddim"]
    assert (float(got[0]), int(got[1])) == (float(expected[0]), 2)


def test_pairs_of_two_half_batches_add_up_to_the_batch(variables):
    batch, keys = tiny.batch(4), keys_of(4)
    batch["mask"][1] = False
    terms = functools.partial(jitted_terms, variables, pixel_losses_on_every_step=True)
    halves = [terms(slices(batch, part), keys[part]) for part in (slice(0, 2), slice(2, 4))]
    summed = {
        name: tuple(a + b for a, b in zip(halves[0][name], halves[1][name], strict=True))
        for name in NAMES
    }
    assert_same_terms(terms(batch, keys), summed)
    assert {name: int(count) for name, (_, count) in summed.items()} == {
        name: 4 if name == "ddim" else 3 for name in NAMES
    }


def test_ground_truth_is_diffused_in_the_images_that_have_some(variables):
    batch = tiny.batch()
    batch["mask"][1] = False
    gradient_of = functools.partial(gradient_and_terms, variables, ALL, target="ground_truth")
    total, count = gradient_of(batch, keys_of(2))[1]["ddim"]
    other = {**batch, "image": batch["image"] * [[[[1]]], [[[2]]]]}
    assert int(count) == 1
    assert float(gradient_of(other, keys_of(2))[1]["ddim"][0]) == pytest.approx(float(total), 1e-6)


def test_with_one_step_every_step_is_the_last(variables):
    @jax.jit
    def both(variables):
        args = variables, tiny.batch(), keys_of(2)
        return [
            loss_terms(*args, pixel_losses_on_every_step=every, num_steps=1)
            for every in (True, False)
        ]

    assert_same_terms(*both(variables))


def test_every_step_is_the_mean_over_the_steps(variables):
    batch, keys = tiny.batch(), keys_of(2)
    x0s = refine(variables, batch["image"], draw(keys).start[:, 0]).x0s
    totals = [
        losses.silog(
            refinement.decode_log_depth(MODEL, variables, x0, 13, 18)[0],
            np.log(np.where(batch["mask"], batch["depth"], 1)),
            batch["mask"],
            0.85,
        )[0]
        for x0 in x0s
    ]
    assert float(totals[0]) != pytest.approx(float(totals[1]), rel=1e-3)
    total, count = jitted_terms(variables, batch, keys, pixel_losses_on_every_step=True)["silog"]
    assert float(total) == pytest.approx(float(sum(totals)) / 2, rel=1e-4)
    assert int(count) == 2


def test_of_every_step_those_with_a_gradient_are_decoded(variables):
    args = variables, tiny.batch(), keys_of(2)
    terms = functools.partial(jitted_terms, *args, gradient_steps=1)
    assert_same_terms(
        terms(pixel_losses_on_every_step=True), terms(pixel_losses_on_every_step=False)
    )


def test_only_the_pixel_losses_depend_on_every_step(variables):
    batch, keys = tiny.batch(), keys_of(2)
    last = jitted_terms(variables, batch, keys, pixel_losses_on_every_step=False)
    every = jitted_terms(variables, batch, keys, pixel_losses_on_every_step=True)
    differing = {
        name
        for name in NAMES
        if float(last[name][0]) != pytest.approx(float(every[name][0]), rel=1e-5)
    }
    assert differing == set(PIXEL_LOSSES)


def test_the_draws_follow_the_keys(variables):
    batch = tiny.batch()
    first, again, other = (jitted_terms(variables, batch, keys_of(2, seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    differing = {name for name in NAMES if float(first[name][0]) != float(other[name][0])}
    assert differing == set(NAMES) - {"reconstruction"}  # which nothing random enters


def test_stochastic_depth_follows_its_key_and_is_on_in_training():
    model = tiny.model(drop_path_rate=0.5)
    variables, batch = tiny.init_model(model), tiny.batch()

    objective = tiny.objective(model, "v_prediction")

    @jax.jit
    def silog(key):
        terms, _ = objective.terms(variables, batch, draw(keys_of(2)), key)
        return terms["silog"][0]

    values = {float(silog(jax.random.key(seed))) for seed in range(4)}
    assert len(values) > 1
    assert silog(jax.random.key(0)) == silog(jax.random.key(0))


def test_draws_are_an_images_own_and_independent_of_each_other():
    draws, alone = draw(keys_of(3)), draw(keys_of(3)[1:2])
    np.testing.assert_array_equal(draws.noise[1], alone.noise[0])
    noises = np.concatenate([draws.start, draws.noise]).reshape(6, -1)
    assert np.abs(np.corrcoef(noises) - np.eye(6)).max() < 0.15
    assert ((draws.timestep >= 0) & (draws.timestep < 1000)).all()


def test_clamped_depth_gives_no_error_beyond_the_bound(variables):
    batch = tiny.batch()
    clamped = jitted_terms(variables, batch, keys_of(2), clamp_depth=0.1)
    assert float(clamped["l1"][0]) <= 0.2  # two images, at most 0.1 m each
    free = jitted_terms(variables, batch, keys_of(2))
    assert float(free["l1"][0]) > 0.5
    assert float(free["silog"][0]) == float(clamped["silog"][0])


def test_the_total_is_the_weighted_sum_of_means():
    terms = {"silog": (jnp.float32(6), 3), "ddim": (jnp.float32(5), 2), "l1": (jnp.float32(9), 1)}
    assert float(total_loss(terms, {"silog": 10.0, "ddim": 0.5})) == 21.25


def test_the_total_of_no_images_is_zero():
    terms = {"silog": (jnp.float32(0), jnp.int32(0))}
    assert float(total_loss(terms, {"silog": 10.0})) == 0


# Several samples of an image


def test_losses_of_each_sample_are_means_over_the_samples(variables):
    """Those of an image with two samples are those of two images, each with one of its noises."""
    batch, keys = tiny.batch(1), keys_of(1)
    together = jitted_terms(variables, batch, keys, samples=2)
    one_each = tiny.objective(MODEL, "v_prediction")
    draws = tiny.objective(MODEL, "v_prediction", samples=2).draw(keys, 13, 18)
    draws = jax.tree.map(lambda x: x.swapaxes(0, 1), draws)
    twice = {name: np.repeat(array, 2, axis=0) for name, array in batch.items()}
    apart, _ = jax.jit(one_each.terms)(variables, twice, draws, DROP_PATH_KEY)
    for name in sorted(set(NAMES) - {"crps", "crps_pooled"}):
        assert int(together[name][1]) == 1
        assert float(together[name][0]) == pytest.approx(float(apart[name][0]) / 2, rel=1e-4), name


def test_crps_rewards_samples_that_differ(variables):
    """It is lower than the mean error of the samples by half of their mean distance."""
    together = float(jitted_terms(variables, tiny.batch(), keys_of(2), samples=2)["crps"][0])
    draws = tiny.objective(MODEL, "v_prediction", samples=2).draw(keys_of(2), 13, 18)
    noise = draws.start.reshape(4, *draws.start.shape[2:])
    latent = refine(variables, tiny.batch()["image"], noise).latent
    log_depth, _ = refinement.decode_log_depth(MODEL, variables, latent, 13, 18)
    batch, (first, second) = tiny.batch(), log_depth.reshape(2, 2, 13, 18, 1).swapaxes(0, 1)
    target = np.log(np.where(batch["mask"], batch["depth"], 1))
    errors = (np.abs(first - target) + np.abs(second - target) - np.abs(first - second)) / 2
    means = [errors[i][batch["mask"][i]].mean() for i in range(2)]
    assert together == pytest.approx(sum(means), rel=1e-4)


def test_noise_of_its_own_start_is_denoised_to_the_sample(variables):
    """At the noisiest timestep x_t is then the start itself, which is refined from there."""
    sampler = {"num_steps": 1, "spacing": "trailing"}
    schedule = diffusion.create_schedule("cosine", 1000, 1e-4, 0.02, "sample")
    objective = tiny.objective(MODEL, sampler=sampler, samples=2, own_noise=True)
    objective = dataclasses.replace(objective, schedule=schedule)
    draws = objective.draw(keys_of(2), 13, 18)
    draws = draws.replace(timestep=np.full((2, 2), 999))
    own, fresh = (
        jax.jit(x.terms)(variables, tiny.batch(), draws, DROP_PATH_KEY)[0]["ddim"][0]
        for x in (objective, dataclasses.replace(objective, own_noise=False))
    )
    assert float(own) < 1e-3 * float(fresh)
