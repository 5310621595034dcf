"""Schedules against closed forms; an oracle that knows x0 shows what the sampler must do.

golden/ddim.npz holds numbers computed with the scheduler of the public PyTorch implementation
(duanyiqun/DiffusionDepth, commit e1ca9d5) on random arrays.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.flops import count_multiply_adds
from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion
from diffdepth_jax.method.noise import normal_per_image
from tests.support.paths import GOLDEN

VECTORS = np.load(GOLDEN / "ddim.npz")
SHAPE = (3, 2, 4, 5)


def schedule_of(schedule="linear", prediction_type="epsilon", num_timesteps=1000):
    return diffusion.create_schedule(schedule, num_timesteps, 1e-4, 0.02, prediction_type)


def normal(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def amplitudes(schedule, timestep):
    """a and s in float64, shaped for SHAPE."""
    alpha_bar = schedule.alpha_bar.astype(np.float64)[np.asarray(timestep)]
    alpha_bar = alpha_bar.reshape(alpha_bar.shape + (1,) * (len(SHAPE) - 1))
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)


def oracle(schedule, x0):
    """The network that knows x0, and so the noise in each latent."""
    alpha_bar = jnp.asarray(schedule.alpha_bar)

    def denoise(latent, timestep):
        a = jnp.sqrt(alpha_bar[timestep])[:, None, None, None]
        s = jnp.sqrt(1 - alpha_bar[timestep])[:, None, None, None]
        epsilon = (latent - a * x0) / s
        predictions = {"epsilon": epsilon, "sample": x0, "v_prediction": a * epsilon - s * x0}
        return predictions[schedule.prediction_type]

    return denoise


def toy_denoise(weight):
    """A smooth network with one parameter for each channel."""
    return lambda latent, timestep: jnp.tanh(latent * weight + timestep[:, None, None, None] / 1000)


def loop_sample(denoise, noise, schedule, num_steps, spacing, clip=0.0):
    """What `ddim_sample` computes with eta = 0, as a Python loop."""
    timesteps = diffusion.sampling_timesteps(schedule.num_timesteps, num_steps, spacing)
    levels = [*schedule.alpha_bar[timesteps], np.float32(1)]
    latents, x0s = [noise], []
    for index, timestep in enumerate(timesteps):
        prediction = denoise(latents[-1], jnp.full(len(noise), timestep))
        latent, x0 = diffusion.ddim_step(
            latents[-1],
            prediction,
            levels[index],
            levels[index + 1],
            schedule.prediction_type,
            clip=clip,
        )
        latents.append(latent)
        x0s.append(x0)
    return jnp.stack(latents), jnp.stack(x0s)


# Schedules


def test_linear_alpha_bar_is_the_product_of_one_minus_beta():
    expected, product = [], 1.0
    for index in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * index / 999)
        expected.append(product)
    np.testing.assert_allclose(schedule_of("linear").alpha_bar, expected, rtol=2e-6)


def test_linear_alpha_bar_ends_where_ddpm_says():
    alpha_bar = schedule_of("linear").alpha_bar
    assert alpha_bar[0] == pytest.approx(1 - 1e-4, rel=1e-7)
    assert alpha_bar[-1] == pytest.approx(4.036e-5, rel=1e-3)


def test_cosine_alpha_bar_is_the_squared_cosine_away_from_the_end():
    time = np.arange(1001) / 1000
    squared = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha_bar = schedule_of("cosine").alpha_bar
    np.testing.assert_allclose(alpha_bar[:999], (squared / squared[0])[1:1000], rtol=2e-6)
    # The last beta would be 1; the cap at .999 leaves a thousandth of the signal's power.
    assert alpha_bar[999] / alpha_bar[998] == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "table"),
    [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")],
)
def test_alpha_bar_equals_the_released_scheduler(schedule, table):
    expected = VECTORS[f"table/{table}_1000/alphas_cumprod"]
    np.testing.assert_allclose(schedule_of(schedule).alpha_bar, expected, rtol=3e-5)


@pytest.mark.parametrize(("schedule", "fits"), [("linear", 8_000), ("scaled_linear", 10_000)])
def test_a_schedule_that_leaves_no_signal_in_float32_is_refused(schedule, fits):
    """The sampler divides by alpha_bar: 0 would give nan, whatever the network predicts."""
    created = schedule_of(schedule, num_timesteps=fits)
    latent = diffusion.ddim_sample(
        lambda latent, _: latent, normal(0), created, num_steps=4, spacing="trailing", clip=1.0
    )[0][-1]
    assert np.all(np.isfinite(latent))
    with pytest.raises(UserError, match=r"diffusion\.beta_end 0\.02: alpha_bar is 0 after 20000"):
        schedule_of(schedule, num_timesteps=20_000)
    assert schedule_of("cosine", num_timesteps=20_000).alpha_bar[-1] > 0


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
@pytest.mark.parametrize("num_timesteps", [10, 1000])
def test_alpha_bar_falls_within_zero_and_one(schedule, num_timesteps):
    created = schedule_of(schedule, num_timesteps=num_timesteps)
    assert created.num_timesteps == num_timesteps
    assert created.alpha_bar.dtype == np.float32
    assert created.alpha_bar[-1] > 0 and created.alpha_bar[0] < 1
    assert np.all(np.diff(created.alpha_bar) < 0)


# Timesteps


@pytest.mark.parametrize(
    ("spacing", "num_steps", "expected"),
    [
        ("leading", 20, range(950, -1, -50)),
        ("leading", 10, range(900, -1, -100)),
        ("leading", 3, [666, 333, 0]),
        ("leading", 1, [0]),
        ("trailing", 20, range(999, 48, -50)),
        ("trailing", 10, range(999, 98, -100)),
        ("trailing", 3, [999, 666, 332]),
        ("trailing", 1, [999]),
    ],
)
def test_timesteps_of_a_thousand(spacing, num_steps, expected):
    timesteps = diffusion.sampling_timesteps(1000, num_steps, spacing)
    assert timesteps.dtype == np.int32
    assert timesteps.tolist() == list(expected)


@pytest.mark.parametrize("case", ["1000_20", "1000_5", "1000_3", "1000_1", "100_7"])
def test_leading_timesteps_equal_the_released_scheduler(case):
    timesteps = diffusion.sampling_timesteps(*map(int, case.split("_")), "leading")
    np.testing.assert_array_equal(timesteps, VECTORS[f"timesteps/{case}"])


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_timesteps_fall_strictly_and_touch_their_end(spacing):
    for num_steps in range(1, 101):
        timesteps = diffusion.sampling_timesteps(100, num_steps, spacing)
        assert len(timesteps) == num_steps
        assert np.all(np.diff(timesteps) < 0)
        assert timesteps.min() >= 0 and timesteps.max() <= 99
        assert timesteps[-1] == 0 if spacing == "leading" else timesteps[0] == 99


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_step_counts_are_user_errors(num_steps):
    with pytest.raises(UserError, match=f"num_steps {num_steps}: must be 1 to 1000"):
        diffusion.sampling_timesteps(1000, num_steps, "leading")


# Forward process


def test_add_noise_has_the_moments_of_the_forward_process():
    schedule, timestep = schedule_of(), np.array([0, 250, 999])
    x0 = np.broadcast_to(np.float32([[2], [-3], [4]]), (3, 20_000))
    noisy = np.asarray(diffusion.add_noise(schedule, x0, normal(0, x0.shape), timestep))
    alpha_bar = schedule.alpha_bar[timestep]
    np.testing.assert_allclose(noisy.mean(1), np.sqrt(alpha_bar) * [2, -3, 4], atol=0.03)
    np.testing.assert_allclose(noisy.std(1), np.sqrt(1 - alpha_bar), rtol=0.02)


def test_add_noise_and_velocity_equal_the_released_scheduler():
    x0, noise, timestep = VECTORS["step/x"], VECTORS["add_noise/noise"], VECTORS["add_noise/t"]
    noisy = diffusion.add_noise(schedule_of(), x0, noise, timestep)
    np.testing.assert_allclose(noisy, VECTORS["add_noise/out"], rtol=1e-5, atol=1e-6)
    velocity = diffusion.training_target(
        schedule_of(prediction_type="v_prediction"), x0, noise, timestep
    )
    np.testing.assert_allclose(velocity, VECTORS["velocity/out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_training_target_stands_for_x0(prediction_type):
    schedule = schedule_of(prediction_type=prediction_type)
    x0, noise, timestep = normal(0), normal(1), np.array([0, 300, 700])
    noisy = diffusion.add_noise(schedule, x0, noise, timestep)
    target = diffusion.training_target(schedule, x0, noise, timestep)
    alpha_bar = schedule.alpha_bar[timestep].reshape(-1, 1, 1, 1)
    recovered = diffusion.predict_x0(noisy, target, alpha_bar, prediction_type)
    np.testing.assert_allclose(recovered, x0, atol=1e-5)


def test_training_targets_differ_by_type_as_documented():
    x0, noise, timestep = normal(0), normal(1), np.array([10, 300, 700])
    a, s = amplitudes(schedule_of(), timestep)
    expected = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}
    for prediction_type in ["epsilon", "sample", "v_prediction"]:
        schedule = schedule_of(prediction_type=prediction_type)
        target = diffusion.training_target(schedule, x0, noise, timestep)
        np.testing.assert_allclose(target, expected[prediction_type], rtol=1e-5, atol=1e-6)


# Sampler


@pytest.mark.parametrize("clip", [0, 1])
@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_steps_equal_the_released_scheduler(prediction_type, eta, clip):
    expected = f"step/1000_5_eta{eta}_{prediction_type}_clip{clip}_useclipped1_one1/"
    alpha_bar = schedule_of().alpha_bar[[800, 600, 400, 200, 0]]
    latent = VECTORS["step/x"]
    for index, following in enumerate([*alpha_bar[1:], np.float32(1)]):
        latent, x0 = diffusion.ddim_step(
            latent,
            VECTORS["step/model_outputs"][index],
            alpha_bar[index],
            following,
            prediction_type,
            eta=eta,
            noise=VECTORS["step/variance_noise"][index],
            clip=clip,
        )
        for ours, name in ((latent, "prev"), (x0, "x0")):
            theirs = VECTORS[expected + name][index]
            np.testing.assert_allclose(ours, theirs, atol=3e-6 * np.abs(theirs).max())


EVERY_SAMPLER = list(
    itertools.product(
        ["epsilon", "sample", "v_prediction"],
        ["leading", "trailing"],
        ["linear", "scaled_linear", "cosine"],
    )
)


@pytest.mark.parametrize(("prediction_type", "spacing", "schedule"), EVERY_SAMPLER)
def test_an_exact_oracle_makes_the_sampler_return_x0(prediction_type, spacing, schedule):
    schedule, x0 = schedule_of(schedule, prediction_type), normal(0)
    latents, x0s = diffusion.ddim_sample(
        oracle(schedule, x0), normal(1), schedule, num_steps=5, spacing=spacing
    )
    np.testing.assert_allclose(latents[-1], x0, atol=1e-4)
    # Where cosine starts, a = 5e-5: float32 latents know x0 only to 1e-7 / a there.
    np.testing.assert_allclose(x0s, np.broadcast_to(x0, x0s.shape), atol=2e-2)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_deterministic_latents_keep_their_noise(prediction_type, spacing):
    schedule, x0, noise = schedule_of("linear", prediction_type), normal(0), normal(1)
    latents, _ = diffusion.ddim_sample(
        oracle(schedule, x0), noise, schedule, num_steps=5, spacing=spacing
    )
    timesteps = diffusion.sampling_timesteps(1000, 5, spacing)
    a, s = amplitudes(schedule, timesteps[0])
    epsilon = (noise - a * x0) / s
    for latent, timestep in zip(latents, timesteps, strict=False):
        a, s = amplitudes(schedule, timestep)
        np.testing.assert_allclose(latent, a * x0 + s * epsilon, atol=2e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_a_clip_that_x0_respects_changes_nothing(prediction_type):
    schedule, x0 = schedule_of("linear", prediction_type), np.tanh(normal(0))
    latents, x0s = diffusion.ddim_sample(
        oracle(schedule, x0), normal(1), schedule, num_steps=5, spacing="trailing", clip=1.0
    )
    np.testing.assert_allclose(latents[-1], x0, atol=1e-4)
    assert np.abs(x0s).max() <= 1


def test_clip_bounds_every_x0_and_the_refined_latent():
    schedule = schedule_of("linear", "epsilon")
    sample = diffusion.ddim_sample(
        toy_denoise(0.5), 9 * normal(1), schedule, num_steps=4, spacing="leading", clip=0.7
    )
    free = loop_sample(toy_denoise(0.5), 9 * normal(1), schedule, 4, "leading")
    assert np.abs(free[1]).max() > 2
    assert np.abs(sample[1]).max() <= 0.7 + 1e-4
    np.testing.assert_allclose(sample[0][-1], sample[1][-1], atol=1e-6)


def test_clip_joins_latent_and_clipped_x0_by_the_noise():
    latent, prediction = normal(0), 5 * normal(1)
    following, x0 = diffusion.ddim_step(latent, prediction, 0.36, 0.64, "sample", clip=1.0)
    np.testing.assert_allclose(x0, np.clip(prediction, -1, 1), atol=1e-6)
    # a, s = .6, .8 and then .8, .6.
    np.testing.assert_allclose(following, 0.8 * x0 + 0.6 * (latent - 0.6 * x0) / 0.8, atol=1e-5)


def test_clip_passes_the_gradient():
    def x0_sum(prediction):
        return diffusion.ddim_step(normal(0), prediction, 0.36, 0.64, "sample", clip=1.0)[1].sum()

    np.testing.assert_array_equal(jax.grad(x0_sum)(5 * normal(1)), np.ones(SHAPE))


@pytest.mark.parametrize("clip", [0.0, 0.8])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_scan_equals_a_loop_of_steps_in_value_and_gradient(prediction_type, clip):
    schedule, noise = schedule_of("linear", prediction_type), normal(1)
    weight, weighting = normal(2, SHAPE[-1:]), normal(3)

    def run(sampler, weight):
        latents, x0s = sampler(toy_denoise(weight))
        return jnp.sum(latents[-1] * weighting), (latents, x0s)

    def scan(denoise):
        return diffusion.ddim_sample(
            denoise, noise, schedule, num_steps=4, spacing="trailing", clip=clip
        )

    def loop(denoise):
        return loop_sample(denoise, noise, schedule, 4, "trailing", clip)

    (_, scanned), gradient = jax.value_and_grad(run, 1, has_aux=True)(scan, weight)
    (_, looped), expected = jax.value_and_grad(run, 1, has_aux=True)(loop, weight)
    for ours, theirs in zip((*scanned, gradient), (*looped, expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())
    assert np.abs(gradient).min() > 0


def test_remat_changes_neither_value_nor_gradient():
    schedule, noise, keys = schedule_of(), normal(1), jax.random.split(jax.random.key(0), 3)

    def loss(weight, remat):
        latents, _ = diffusion.ddim_sample(
            toy_denoise(weight),
            noise,
            schedule,
            num_steps=4,
            spacing="leading",
            eta=0.5,
            keys=keys,
            remat=remat,
        )
        return jnp.sum(latents[-1] ** 2)

    weight = normal(2, SHAPE[-1:])
    value, gradient = jax.value_and_grad(loss)(weight, True)
    expected_value, expected = jax.value_and_grad(loss)(weight, False)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


# Back-propagation through the last steps


def sample_loss(gradient_steps, noise, weight, num_steps=4, eta=0.5):
    """(loss, (latents, x0s)): the loss sees every step."""
    keys = jax.random.split(jax.random.key(0), len(noise))
    sample = diffusion.ddim_sample(
        toy_denoise(weight),
        noise,
        schedule_of(),
        num_steps=num_steps,
        spacing="trailing",
        eta=eta,
        keys=keys,
        gradient_steps=gradient_steps,
    )
    return sum(jnp.sum(x * normal(4, x.shape)) for x in sample), sample


@pytest.fixture(scope="module")
def sample_gradients():
    """(gradient_steps, noise, weight) -> (((loss, sample), gradients by noise and weight)."""
    gradients = jax.value_and_grad(sample_loss, (1, 2), has_aux=True)
    return jax.jit(gradients, static_argnums=0)


@pytest.mark.parametrize("gradient_steps", [1, 2, 3])
def test_the_steps_without_gradient_change_no_value(sample_gradients, gradient_steps):
    noise, weight = normal(1), normal(2, SHAPE[-1:])
    (_, expected), gradients = sample_gradients(0, noise, weight)
    (_, sample), (by_noise, by_weight) = sample_gradients(gradient_steps, noise, weight)
    for ours, theirs in zip(sample, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(by_noise, np.zeros(SHAPE))
    assert np.abs(by_weight).max() > 0
    assert np.abs(by_weight - gradients[1]).max() > 1e-2


def test_gradient_through_as_many_steps_as_there_are_is_that_through_all(sample_gradients):
    noise, weight = normal(1), normal(2, SHAPE[-1:])
    _, expected = sample_gradients(0, noise, weight)
    _, gradients = sample_gradients(4, noise, weight)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert np.abs(ours).max() > 0


def test_gradient_of_the_last_step_by_hand():
    schedule, noise, weight = schedule_of(), normal(1), normal(2, SHAPE[-1:])

    def last_latent(weight):
        latents, x0s = diffusion.ddim_sample(
            toy_denoise(weight), noise, schedule, num_steps=3, spacing="leading", gradient_steps=1
        )
        return jnp.sum(latents[-1] ** 2) + jnp.sum(latents[:-1]) + jnp.sum(x0s[:-1])

    def by_hand(weight):
        latents, _ = loop_sample(toy_denoise(weight), noise, schedule, 3, "leading")
        latent = jax.lax.stop_gradient(latents[-2])
        prediction = toy_denoise(weight)(latent, jnp.zeros(len(noise)))
        alpha_bar = schedule.alpha_bar[0]
        latent, _ = diffusion.ddim_step(latent, prediction, alpha_bar, 1.0, "epsilon")
        return jnp.sum(latent**2)

    gradient, expected = jax.grad(last_latent)(weight), jax.grad(by_hand)(weight)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_steps_without_gradient_are_computed_forward_only():
    """A step's product costs 4: forward, recomputed, and two in the backward pass."""
    noise, weight = jnp.ones((1, 2)), jnp.ones((2, 2))

    def loss(gradient_steps, weight):
        latents, _ = diffusion.ddim_sample(
            lambda latent, timestep: jnp.tanh(latent @ weight),
            noise,
            schedule_of(),
            num_steps=7,
            spacing="leading",
            gradient_steps=gradient_steps,
        )
        return latents[-1].sum()

    for gradient_steps, learning in ((0, 7), (1, 1), (3, 3)):
        counted = count_multiply_adds(jax.grad(functools.partial(loss, gradient_steps)), weight)
        assert counted == 4 * (7 + 3 * learning)


def test_the_network_sees_one_int32_timestep_for_each_image():
    seen = []

    def denoise(latent, timestep):
        seen.append((latent.shape, timestep.shape, timestep.dtype))
        return latent

    diffusion.ddim_sample(denoise, normal(1), schedule_of(), num_steps=4, spacing="leading")
    assert set(seen) == {(SHAPE, SHAPE[:1], jnp.dtype("int32"))}


# Stochastic sampling


@pytest.fixture(scope="module")
def sample_with_keys():
    """(keys, noise) -> latents with eta = 1 and a network that knows x0 = 2."""
    schedule = schedule_of()

    @jax.jit
    def sample(keys, noise):
        latents, _ = diffusion.ddim_sample(
            oracle(schedule, 2.0),
            noise,
            schedule,
            num_steps=5,
            spacing="trailing",
            eta=1.0,
            keys=keys,
        )
        return latents

    return sample


def test_eta_one_has_the_covariance_of_the_forward_process(sample_with_keys):
    """x_t given the less noisy x_u has mean (a_t / a_u) x_u: with x0 known, their covariance is
    (a_t / a_u) s_u^2. The deterministic sampler's would be s_t s_u."""
    keys = jax.random.split(jax.random.key(0), 64)
    noise = normal_per_image(keys, (32, 32, 1))
    timesteps = diffusion.sampling_timesteps(1000, 5, "trailing")
    alpha_bar = schedule_of().alpha_bar[timesteps].astype(np.float64)
    a, s = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    latents = np.asarray(sample_with_keys(keys, a[0] * 2 + s[0] * noise))[:5].reshape(5, -1)
    np.testing.assert_allclose(latents.mean(1), a * 2, atol=0.02)
    earlier, later = np.minimum.outer(range(5), range(5)), np.maximum.outer(range(5), range(5))
    expected = a[earlier] / a[later] * s[later] ** 2
    np.testing.assert_allclose(np.cov(latents), expected, atol=0.02)


def test_each_image_follows_its_own_key(sample_with_keys):
    keys, noise = jax.random.split(jax.random.key(0), 3), normal(1)
    latents = sample_with_keys(keys, noise)
    np.testing.assert_array_equal(latents, sample_with_keys(keys, noise))
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(latents[:, order], sample_with_keys(keys[order], noise[order]))
    changed = sample_with_keys(keys.at[1].set(jax.random.key(7)), noise)
    same = np.all(np.asarray(latents == changed)[1:-1], axis=(2, 3, 4))
    np.testing.assert_array_equal(same, [[True, False, True]] * 4)


def test_stochastic_sampling_without_keys_is_refused():
    with pytest.raises(ValueError, match=r"eta > 0 .* pass one key for each image"):
        diffusion.ddim_sample(
            toy_denoise(1.0), normal(1), schedule_of(), num_steps=2, spacing="leading", eta=0.1
        )


def test_normal_per_image_is_unit_gaussian_and_different_for_each_image():
    noise = normal_per_image(jax.random.split(jax.random.key(0), 4), (100, 100, 1))
    assert noise.shape == (4, 100, 100, 1)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), np.zeros(4), atol=0.04)
    correlation = np.corrcoef(np.asarray(noise).reshape(4, -1))
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.05)


def sample_from(noise, start, temperature=1.0):
    return diffusion.ddim_sample(
        lambda latent, timestep: 0.5 * latent + 1,
        noise,
        schedule_of(),
        num_steps=3,
        spacing="trailing",
        start=start,
        temperature=temperature,
    )[0]


def test_from_zeros_the_noise_has_no_influence():
    latents = sample_from(normal(0), "zeros")
    np.testing.assert_array_equal(latents, sample_from(normal(1), "zeros"))
    np.testing.assert_array_equal(latents[0], np.zeros(SHAPE))
    np.testing.assert_array_equal(sample_from(normal(0), "noise")[0], normal(0))


def test_of_a_linear_network_the_temperature_is_the_spread_of_its_samples():
    middle = sample_from(normal(0), "zeros")
    spreads = [sample_from(normal(0), "noise", heat) - middle for heat in (1.0, 0.5, 0.0)]
    np.testing.assert_allclose(spreads[1], 0.5 * spreads[0], atol=1e-4)
    np.testing.assert_array_equal(spreads[2], np.zeros_like(middle))


def test_random_timesteps_fall_from_the_noisiest_and_are_each_images_own():
    keys = jax.random.split(jax.random.key(0), 500)
    timesteps = diffusion.random_timesteps(keys, 1000, 3)
    assert timesteps.shape == (3, 500)
    assert timesteps.dtype == jnp.int32
    assert np.all(timesteps[0] == 999)
    assert np.all(np.diff(timesteps, axis=0) <= 0)
    assert 0 <= timesteps.min() < 20
    assert 450 < timesteps[1:].mean() < 550
    np.testing.assert_array_equal(diffusion.random_timesteps(keys[7:8], 1000, 3), timesteps[:, 7:8])
    assert np.all(diffusion.random_timesteps(keys, 1000, 1) == 999)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_timesteps_of_each_image_sample_as_those_of_a_batch(eta):
    keys = jax.random.split(jax.random.key(1), SHAPE[0])

    def sample(**fields):
        return diffusion.ddim_sample(
            lambda latent, timestep: 0.1 * latent + timestep[:, None, None, None] / 1000,
            normal(0),
            schedule_of(),
            num_steps=4,
            spacing="trailing",
            eta=eta,
            keys=keys,
            **fields,
        )

    timesteps = diffusion.sampling_timesteps(1000, 4, "trailing")
    each = jnp.broadcast_to(timesteps[:, None], (4, SHAPE[0]))
    for ours, expected in zip(sample(timesteps=each), sample(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
