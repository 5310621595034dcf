"""Numbers of the public implementation, its names, and sizes that do not divide.

golden/README.md says where the vectors are from. What the two backbones' tests have in common is
here too.
"""

import dataclasses
import functools
import gzip
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from diffdepth_jax.models import resnet
from diffdepth_jax.torch_rules_backbones import RESNET_RULES
from tests import tiny

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHARED = pathlib.Path(__file__).parents[2] / "shared" / "golden"
PREFIX = "depth_backbone."

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"all vectors: {SHARED} is absent")

# Rules


TRANSFORMS = {
    "same": lambda tensor: tensor,
    "dense": lambda tensor: tensor.T,
    "conv": lambda tensor: tensor.transpose(2, 3, 1, 0),
    "depthwise": lambda tensor: tensor.transpose(2, 3, 1, 0),
}


def match(rules, name):
    """(target, transform) of the one rule for a name."""
    matches = [
        (found.expand(target), transform)
        for pattern, target, transform in rules
        if (found := re.fullmatch(pattern, name))
    ]
    assert len(matches) == 1, f"{name}: {matches}"
    return matches[0]


def assert_rules_fill(module, rules, variant):
    """Each name of a released checkpoint has a rule, each leaf is filled once, in its shape."""
    image = jnp.zeros((1, 32, 32, 3))
    leaves = jax.eval_shape(lambda: module.init(jax.random.key(0), image))
    shapes = {path: a.shape for path, a in traverse_util.flatten_dict(leaves, sep="/").items()}
    filled = {}
    for name, shape, kind in manifest(variant):
        target, transform = match(rules, name)
        assert (transform == "alias") == (kind == f"alias of {PREFIX}{target}")
        if transform in TRANSFORMS:
            assert target not in filled
            filled[target] = TRANSFORMS[transform](np.broadcast_to(0, shape)).shape
    assert filled == shapes


def manifest(variant):
    """(name, shape, kind) of a released backbone's tensors."""
    text = gzip.decompress((GOLDEN / f"state_dict_keys_{variant}.txt.gz").read_bytes()).decode()
    for line in text.splitlines():
        if line.startswith(PREFIX):
            name, shape, _, kind = line.removeprefix(PREFIX).split("\t")
            yield name, [int(size) for size in re.findall(r"\d+", shape)], kind


# Parity


def channels_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@dataclasses.dataclass(frozen=True)
class Component:
    """A module and the vectors of its counterpart.

    The counterpart's names lack the `prefix` that the rules expect; our leaves lie under `path`.
    """

    file: pathlib.Path
    module: nn.Module
    rules: list
    prefix: str = ""
    path: str = ""

    @functools.cached_property
    def vectors(self):
        return np.load(self.file)

    def tensors(self, group):
        keys = [key for key in self.vectors if key.startswith(f"{group}/")]
        return {key.removeprefix(f"{group}/"): self.vectors[key] for key in keys}

    def maps(self, group):
        return tuple(channels_last(array) for array in self.tensors(group).values())

    def leaves(self, group):
        return convert(self.tensors(group), self.rules, self.prefix, self.path)

    @property
    def image(self):
        x, like = self.maps("in")[0], self.maps("out")[0]
        return x if x.ndim == 4 else x.reshape(like.shape)  # encoders take [B, H * W, C]


def convert(tensors, rules, prefix="", path=""):
    """A module's variables."""
    leaves = {}
    for name, tensor in tensors.items():
        target, transform = match(rules, prefix + name)
        if transform == "alias":
            np.testing.assert_array_equal(tensor, tensors[target.removeprefix(prefix)])
        elif transform != "ignore":
            leaf = target.replace(f"/{path}/", "/", 1) if path else target
            leaves[leaf] = TRANSFORMS[transform](tensor)
    return traverse_util.unflatten_dict(leaves, sep="/")


def forward(component, train):
    """(outputs, running statistics)."""
    apply = functools.partial(component.module.apply, mutable="batch_stats")
    program = tiny.jit(lambda variables, image: apply(variables, image, train))
    outputs, state = program(component.leaves("w"), component.image)
    return outputs if isinstance(outputs, tuple) else (outputs,), state


def backward(component, train):
    """Gradients of sum(out * cot) by (the parameters, the image)."""
    variables, cotangents = component.leaves("w"), component.maps("cot")

    def loss(parameters, image):
        outputs, _ = component.module.apply(
            {**variables, "params": parameters}, image, train, mutable="batch_stats"
        )
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return sum((a * b).sum() for a, b in zip(outputs, cotangents, strict=True))

    return tiny.jit(jax.grad(loss, (0, 1)))(variables["params"], component.image)


def assert_maps_close(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def assert_forward_parity(component, train, tolerance=3e-5):
    outputs, state = forward(component, train)
    theirs = component.maps("out_train" if train else "out")
    assert_maps_close(outputs, theirs[: len(outputs)], tolerance)
    if train and component.tensors("bn_after"):
        tiny.assert_trees_close(state, component.leaves("bn_after"), 1e-5)


def assert_backward_parity(component, train):
    """Relative in L2; leaves that should be zero hold rounding, compared with the largest."""
    suffix = "_train" if train else ""
    ours, image_gradient = backward(component, train)
    theirs = component.leaves(f"grad{suffix}")["params"]
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(theirs))
    for (path, expected), leaf in zip(
        jax.tree.leaves_with_path(theirs), jax.tree.leaves(ours), strict=True
    ):
        bound = 1e-3 * max(np.linalg.norm(expected), 1e-4 * largest)
        assert np.linalg.norm(leaf - expected) <= bound, jax.tree_util.keystr(path)
    expected = component.maps(f"grad_in{suffix}")[0].reshape(image_gradient.shape)
    assert np.linalg.norm(image_gradient - expected) <= 1e-3 * np.linalg.norm(expected)


def assert_backbone_parity(name, module, rules, tolerance):
    """The backbone within one of the end-to-end models."""
    torch_file = pytest.importorskip("diffdepth_jax.torch_file")
    folder = SHARED / "end_to_end"
    tensors = torch_file.read_torch_file(folder / f"{name}.pt")["net"]
    tensors = {
        key.removeprefix(PREFIX): np.asarray(tensor)
        for key, tensor in tensors.items()
        if key.startswith(PREFIX)
    }
    vectors = np.load(folder / f"{name}_eval_64x96_s5.npz")
    outputs = tiny.jit(module.apply)(convert(tensors, rules), channels_last(vectors["in/rgb"]))
    theirs = [channels_last(vectors[f"fp/{level}"]) for level in range(4)]
    assert_maps_close(outputs, theirs, tolerance)


@pytest.mark.parametrize("train", [False, True])
def test_two_stages_equal_the_public_code(train):
    """Training, also the running statistics."""
    module = resnet.ResNet(depths=(1, 2), channels=(16, 32))
    file = GOLDEN / "resnet_two_stages_32x48.npz"
    assert_forward_parity(Component(file, module, RESNET_RULES), train, 3e-6)


@needs_shared
@pytest.mark.parametrize("train", [False, True])
def test_four_stages_and_their_gradients_equal_the_public_code(train):
    module = resnet.ResNet(depths=(1, 2, 1, 2), channels=(16, 32, 48, 64))
    file = SHARED / "components" / "resnet_Basic_32x48.npz"
    component = Component(file, module, RESNET_RULES)
    assert_forward_parity(component, train)
    assert_backward_parity(component, train)


@needs_shared
def test_the_backbone_of_a_whole_model_equals_the_public_code():
    module = resnet.ResNet(depths=(1, 2, 2, 1), channels=(16, 32, 48, 64))
    assert_backbone_parity("tiny_res_basic", module, RESNET_RULES, 3e-5)


# The network


@pytest.mark.parametrize(
    ("variant", "name"), [("res18", "resnet18"), ("res50", "resnet50"), ("res101", "resnet101")]
)
def test_rules_fill_the_released_variants(variant, name):
    assert_rules_fill(resnet.ResNet(**resnet.VARIANTS[name]), RESNET_RULES, variant)


def small(dtype=jnp.float32):
    return resnet.ResNet(depths=(1, 2, 1, 1), channels=(8, 8, 16, 16), dtype=dtype)


def assert_strides(module, channels, size):
    """Strides 2 to 16, of any size, in any compute dtype over float32 variables."""
    image = jnp.zeros((2, *size, 3))
    maps, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    for level, (feature, features) in enumerate(zip(maps, channels, strict=True)):
        height, width = (-(-side // 2 ** (level + 1)) for side in size)
        assert feature.shape == (2, height, width, features)
        assert feature.dtype == module.dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (16, 16), (50, 46), (5, 129)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maps_have_strides_2_to_16_of_any_size(size, dtype):
    assert_strides(small(dtype), (8, 8, 16, 16), size)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_bfloat16_is_close(full, half, bound):
    """Root mean square difference as a fraction of the map's own."""
    image = normal(2, 33, 47, 3)
    variables = tiny.jit(full.init)(jax.random.key(0), image)
    for a, b in zip(*(tiny.jit(m.apply)(variables, image) for m in (full, half)), strict=True):
        difference = np.asarray(a) - np.asarray(b, np.float32)
        assert 0 < np.sqrt(np.mean(difference**2) / np.mean(np.asarray(a) ** 2)) < bound


def test_bfloat16_is_close_to_float32():
    assert_bfloat16_is_close(small(), small(jnp.bfloat16), 0.02)
