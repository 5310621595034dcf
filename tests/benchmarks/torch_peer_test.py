"""The benchmark's PyTorch model computes what ours does: it is a fair thing to compare with."""

import functools

import jax
import numpy as np
import pytest
from flax import traverse_util

from benchmarks import speed_rows
from diffdepth_jax.configs import default, released_swin
from diffdepth_jax.configuration import groups
from diffdepth_jax.method import diffusion, objective, refinement
from diffdepth_jax.method.pixel_objective import total_loss
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones import swin
from diffdepth_jax.training.configured import configured_objective
from diffdepth_jax.training.optimizer import create_optimizer
from tests.support import parity, tiny

torch = pytest.importorskip("torch", reason="PyTorch, which is not among the requirements")
from benchmarks import torch_peer  # noqa: E402

SIZE = (37, 50)  # odd maps at every level
VARIANT = {"embed_dim": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
EAGER, IMPROVED = torch_peer.FORMS["eager"], torch_peer.FORMS["channels_last"]


def small(config, **loss):
    config.model.update(
        backbone="swin_tiny",
        window_size=3,
        neck_features=8,
        latent_channels=4,
        drop_path_rate=0.0,
        denoiser_features=8,
        denoiser_heads=2,
        decoder_width=8,
    )
    config.sampler.update(num_steps=3, remat=False)
    config.sampler.start = "zeros" if "gradient_steps" in loss else "noise"
    config.loss.update({**speed_rows.UNSUPPORTED, **loss})
    return groups.read(config)


CONFIGS = {
    "default": lambda: small(default.get_config()),
    "other objective": lambda: small(
        default.get_config(), gradient_steps=2, target="ground_truth", clamp_depth=8.0
    ),
    "released": lambda: small(released_swin.get_config()),
}


def with_compiled(cases):
    """And both architectures compiled, which takes minutes and needs a C++ compiler."""
    slow, compiled = pytest.mark.slow, torch_peer.FORMS["compiled"]
    names = ("default", "released")
    return cases + [pytest.param(name, compiled, marks=slow) for name in names]


class Pair:
    """A model of ours with random variables, what it is to do, and its counterpart."""

    def __init__(self, config, form):
        self.config = config
        self.model = create_model(config.model)
        self.schedule = diffusion.create_schedule(**vars(config.diffusion))
        self.batch = tiny.batch(2, *SIZE)
        self.variables = jax.tree.map(np.asarray, tiny.init_model(self.model, self.batch))
        self.variables = jax.tree_util.tree_map_with_path(_positive, self.variables)
        shape = (2, 2, *self.model.latent_shape(*SIZE))  # of the start, of the denoising loss
        self.noise = np.random.default_rng(1).standard_normal(shape, np.float32)
        timesteps = diffusion.sampling_timesteps(
            self.schedule.num_timesteps, config.sampler.num_steps, config.sampler.spacing
        )
        fields = speed_rows.peer_fields(config, VARIANT, self.schedule.alpha_bar, timesteps)
        self.peer = torch_peer.Peer(fields, form)
        torch_peer.load(self.peer, traverse_util.flatten_dict(self.variables, sep="/"))

    @property
    def draws(self):
        """Ours, and theirs."""
        timestep = np.array([300, 700])
        samples = [x[:, None] for x in (self.noise[0], timestep.astype(np.int32), self.noise[1])]
        ours = objective.Draws(*samples, None)
        start, noise = map(to_torch, self.noise)
        return ours, {"start": start, "noise": noise, "timestep": torch.from_numpy(timestep)}


def _positive(path, leaf):
    return np.abs(leaf) + 0.1 if path[-1].key == "var" else leaf


def to_torch(array):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(swin.VARIANTS, "swin_tiny", VARIANT)


@functools.cache
def our_depth(name):
    pair = Pair(CONFIGS[name](), EAGER)
    predict = functools.partial(
        refinement.predict_depth, pair.model, schedule=pair.schedule, **vars(pair.config.sampler)
    )
    return np.asarray(jax.jit(predict)(pair.variables, pair.batch["image"], pair.noise[0]))


@pytest.mark.parametrize(
    ("name", "form"),
    with_compiled([(name, form) for name in CONFIGS for form in (EAGER, IMPROVED)]),
)
def test_depth_equals_ours(name, form):
    pair = Pair(CONFIGS[name](), form)
    pair.peer.eval()
    depth = pair.peer.predict(to_torch(pair.batch["image"]), to_torch(pair.noise[0]))
    difference = parity.relative_difference(our_depth(name)[..., 0], depth[:, 0].numpy())
    assert difference < 3e-5


@pytest.mark.parametrize("name", ["default", "released"])
def test_autocast_is_close(name):
    pair = Pair(CONFIGS[name](), torch_peer.Form(bfloat16=True))
    pair.peer.eval()
    depth = pair.peer.predict(to_torch(pair.batch["image"]), to_torch(pair.noise[0]))
    assert depth.dtype == torch.float32
    assert 1e-6 < parity.relative_difference(our_depth(name)[..., 0], depth[:, 0].numpy()) < 0.1


def our_step(pair):
    """(loss, gradients, statistics) of ours."""
    losses = configured_objective(pair.config, pair.model, pair.schedule)

    def total(params):
        variables = {**pair.variables, "params": params}
        terms, updated = losses.terms(variables, pair.batch, pair.draws[0], None)
        return total_loss(terms, losses.weights), updated.get("batch_stats", {})

    (value, statistics), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(
        pair.variables["params"]
    )
    return float(value), gradients, statistics


def ours_from(peer, tensors, like):
    """A tree as `like` of {our path: tensor in PyTorch's layout}."""
    flat = traverse_util.flatten_dict(like, sep="/")
    found = {}
    for path, tensor, order in torch_peer.leaves(peer):
        leaf = flat.get(path.partition("/")[2])
        if leaf is not None and path in tensors:
            places = order(np.arange(leaf.size).reshape(leaf.shape), tuple(tensor.shape))
            array = np.empty(leaf.size, np.float32)
            array[places.ravel()] = tensors[path].detach().numpy().ravel()
            found[path.partition("/")[2]] = array.reshape(leaf.shape)
    return traverse_util.unflatten_dict(found, sep="/")


@pytest.mark.parametrize(
    ("name", "form"),
    with_compiled([(name, EAGER) for name in CONFIGS] + [("default", IMPROVED)]),
)
def test_loss_gradients_and_statistics_equal_ours(name, form):
    pair = Pair(CONFIGS[name](), form)
    value, gradients, statistics = our_step(pair)
    theirs = torch_peer.loss(
        pair.peer.train(), {key: to_torch(x) for key, x in pair.batch.items()}, pair.draws[1]
    )
    theirs.backward()
    assert theirs.item() == pytest.approx(value, rel=1e-5)
    tensors = {}
    for path, tensor, _ in torch_peer.leaves(pair.peer):
        unused = tensor.grad is None and path.startswith("params/")
        tensors[path] = torch.zeros_like(tensor) if unused else tensor
        if tensor.grad is not None:
            tensors[path] = tensor.grad
    found = ours_from(pair.peer, tensors, gradients)
    parity.assert_gradients_close(gradients, found)
    if statistics:
        tiny.assert_trees_close(statistics, ours_from(pair.peer, tensors, statistics), 1e-4)


@pytest.mark.parametrize(
    ("kind", "form"), [("sgd", EAGER), ("adam", EAGER), ("adamw", EAGER), ("adamw", IMPROVED)]
)
def test_an_update_equals_ours(kind, form):
    """Of given gradients, clipped; twice, so that momenta count."""
    pair = Pair(CONFIGS["default"](), form)
    fields = {
        **vars(pair.config.optimizer),
        "name": kind,
        "learning_rate": 0.1,
        "clip_norm": 0.5,
        "backbone_multiplier": 0.3,
        "eps": 1e-3,
    }
    pair.peer.fields["optimizer"] = fields
    optimizer = torch_peer.create_optimizer(pair.peer)
    names = (
        "schedule",
        "learning_rate",
        "warmup_steps",
        "end_fraction",
        "power",
        "boundaries",
        "factors",
    )
    ours = create_optimizer(
        rate=0.1, **{name: value for name, value in fields.items() if name not in names}
    )
    params = pair.variables["params"]
    state, start = ours.init(params), params
    gradients = jax.tree.map(lambda x: np.float32(np.cos(7 * x)), params)
    copy = torch_peer.Peer(pair.peer.fields, form)
    torch_peer.load(copy, traverse_util.flatten_dict({"params": gradients}, sep="/"))
    update = jax.jit(ours.update)
    for _ in range(2):
        updates, state = update(gradients, state, params)
        params = jax.tree.map(np.add, params, updates)
        for tensor, gradient in zip(pair.peer.parameters(), copy.parameters(), strict=True):
            tensor.grad = gradient.detach().clone()
        torch.nn.utils.clip_grad_norm_(pair.peer.parameters(), 0.5)
        optimizer.step()
    tensors = {path: tensor for path, tensor, _ in torch_peer.leaves(pair.peer)}
    changes = jax.tree.map(np.subtract, ours_from(pair.peer, tensors, params), start)
    tiny.assert_trees_close(changes, jax.tree.map(np.subtract, params, start), 1e-3)


def test_a_training_step_lowers_the_loss_and_draws_by_itself():
    pair = Pair(CONFIGS["default"](), IMPROVED)
    pair.peer.train().fields["optimizer"]["learning_rate"] = 1e-3
    optimizer = torch_peer.create_optimizer(pair.peer)
    batch = {key: to_torch(x) for key, x in pair.batch.items()}
    draws = torch_peer.draw(pair.peer, 2, pair.draws[1]["start"].shape[1:], "cpu")
    losses = [torch_peer.train_step(pair.peer, optimizer, batch, draws) for _ in range(4)]
    assert losses[-1] < losses[0]


def test_leaves_that_one_side_lacks_are_named():
    pair = Pair(CONFIGS["default"](), EAGER)
    flat = traverse_util.flatten_dict(pair.variables, sep="/")
    del flat["params/neck/up1/kernel"]
    with pytest.raises(ValueError, match="params/neck/up1/kernel"):
        torch_peer.load(pair.peer, flat)


def test_what_the_peer_cannot_do_is_refused():
    config = small(default.get_config(), pixel_losses_on_every_step=True)
    with pytest.raises(ValueError, match="pixel_losses_on_every_step"):
        speed_rows.peer_fields(config, VARIANT, [], [])


def test_the_shifted_windows_mask_is_ours():
    ours = swin.shift_mask(12, 9, 3, (1, 1))
    np.testing.assert_array_equal(torch_peer.torch_networks.shift_mask(12, 9, 3, 1, "cpu"), ours)
