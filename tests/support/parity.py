"""Numbers of the public PyTorch implementation beside ours; golden/README.md has their origin.

The small selection lies in tests/golden, all of it in ../shared.
"""

import dataclasses
import functools
import gzip
import pathlib
import re
import zipfile
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from diffdepth_jax.torch_import.rules import TRANSFORMS
from tests.support import tiny
from tests.support.paths import GOLDEN, SHARED
from tests.torch_import import reader_test
from tests.torch_import.reader_test import dump

ALL_GOLDEN = SHARED / "golden"
_REASON = f"all vectors: {ALL_GOLDEN} is absent"
needs_shared = pytest.mark.skipif(not ALL_GOLDEN.exists(), reason=_REASON)

# Names


def match(rules, name):
    """(target, transform) of the one rule for a name."""
    matches = [
        (found.expand(target), transform)
        for pattern, target, transform in rules
        if (found := re.fullmatch(pattern, name))
    ]
    assert len(matches) == 1, f"{name}: {matches}"
    return matches[0]


def manifest(variant, prefix=""):
    """(name, shape, kind) of a released checkpoint's tensors, of those under `prefix`."""
    text = gzip.decompress((GOLDEN / f"state_dict_keys_{variant}.txt.gz").read_bytes()).decode()
    for line in text.splitlines():
        if line.startswith(prefix) and not line.startswith("#"):
            name, shape, _, kind = line.removeprefix(prefix).split("\t")
            yield name, tuple(int(size) for size in re.findall(r"\d+", shape)), kind


def leaves_of(variables):
    return traverse_util.flatten_dict(variables, sep="/")


def assert_rules_fill(abstract, rules, variant, prefix=""):
    """Each name of a released checkpoint has one rule, each leaf is filled once, in its shape."""
    shapes = {path: leaf.shape for path, leaf in leaves_of(abstract).items()}
    filled = {}
    for name, shape, kind in manifest(variant, prefix):
        target, transform = match(rules, name)
        assert (transform == "alias") == (kind == f"alias of {prefix}{target}"), name
        if transform in TRANSFORMS:
            assert target not in filled
            filled[target] = TRANSFORMS[transform](np.broadcast_to(0, shape)).shape
    assert filled == shapes


# The shape in PyTorch of what gives a leaf of shape s
_SHAPES = {
    "same": lambda s: s,
    "dense": lambda s: s[::-1],
    "conv": lambda s: (s[3], s[2], s[0], s[1]),
    "pointwise": lambda s: (s[1], s[0], 1, 1),
    "transposed": lambda s: (s[2], s[3], s[0], s[1]),
    "merging_norm": lambda s: s,
    "merging_dense": lambda s: s[::-1],
    "tokens": lambda s: (1, *s),
}


def to_torch(leaf, transform):
    """What the transform turns into the leaf: each of them only moves elements."""
    tensor = np.empty(leaf.size, leaf.dtype)
    shape = _SHAPES[transform](leaf.shape)
    tensor[TRANSFORMS[transform](np.arange(leaf.size).reshape(shape))] = leaf
    return tensor.reshape(shape)


def state_dict(variables, rules, variant, prefix=""):
    """The state dict of a model like a released one, but perhaps smaller: its names, our values.

    Tensors without influence are NaN.
    """
    leaves, tensors = leaves_of(variables), {}
    for name, _, _ in manifest(variant, prefix):
        target, transform = match(rules, name)
        if transform == "ignore":
            tensors[name] = np.full(1, np.nan, np.float32)
        elif transform == "alias" and target in tensors:
            tensors[name] = tensors[target]
        elif target in leaves:
            tensors[name] = to_torch(np.asarray(leaves[target]), transform)
    return tensors


def random_variables(abstract, seed=0):
    """Small random values in the shapes; variances positive."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: np.abs(rng.normal(0.5, 0.1, leaf.shape)).astype(np.float32), abstract
    )


def write_checkpoint(path, tensors):
    """As torch.save writes it: {"net": tensors, "args": Namespace()}; the tensors are float32."""
    assert {tensor.dtype for tensor in tensors.values()} <= {np.dtype(np.float32)}
    entries = []
    for index, (name, tensor) in enumerate(tensors.items()):
        of = reader_test.storage(tensor.size, key=f"{index}")
        strides = tuple(stride // tensor.itemsize for stride in tensor.strides)
        entries += [dump(name), reader_test.tensor(tensor.shape, strides, of=of)]
    net = b"}(" + b"".join(entries) + b"u"
    args = reader_test.call("argparse", "Namespace")
    opcodes = b"}(" + dump("net") + net + dump("args") + args + b"u"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", reader_test.whole(opcodes))
        for index, tensor in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{index}", tensor.tobytes())
    return path


# Values


def channels_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def convert(tensors, rules, prefix="", path=""):
    """A module's variables from tensors whose names lack `prefix`; the leaves lie under `path`."""
    leaves = {}
    for name, tensor in tensors.items():
        target, transform = match(rules, prefix + name)
        if transform == "alias":
            np.testing.assert_array_equal(tensor, tensors[target.removeprefix(prefix)])
        elif transform != "ignore":
            leaf = target.replace(f"/{path}/", "/", 1) if path else target
            leaves[leaf] = TRANSFORMS[transform](tensor)
    return traverse_util.unflatten_dict(leaves, sep="/")


@dataclasses.dataclass(frozen=True)
class Component:
    """A module and the vectors of its counterpart.

    The counterpart's names lack the `prefix` that the rules expect; our leaves lie under `path`.
    `method` takes (module, *inputs, train); the default is the module itself.
    """

    file: pathlib.Path
    module: nn.Module
    rules: list
    prefix: str = ""
    path: str = ""
    method: Callable | None = None

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
    def inputs(self):
        like = self.maps("out")[0].shape  # encoders are given [B, H * W, C]
        x, *others = self.maps("in")
        return (x.reshape(like) if x.ndim == 3 and len(like) == 4 else x, *others)

    def apply(self, variables, inputs, train):
        """(tuple of outputs, running statistics)."""
        outputs, state = self.module.apply(
            variables, *inputs, train, method=self.method, mutable="batch_stats"
        )
        return outputs if isinstance(outputs, tuple) else (outputs,), state


def relative_difference(ours, theirs):
    """The largest difference as a fraction of the largest value."""
    ours = np.asarray(ours).reshape(theirs.shape)
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def assert_maps_close(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        assert relative_difference(a, b) <= tolerance


def assert_forward_parity(component, train=False, tolerance=3e-5):
    program = jax.jit(functools.partial(component.apply, train=train))
    outputs, state = program(component.leaves("w"), component.inputs)
    theirs = component.maps("out_train" if train else "out")
    assert_maps_close(outputs, theirs[: len(outputs)], tolerance)
    if train and component.tensors("bn_after"):
        tiny.assert_trees_close(state, component.leaves("bn_after"), 1e-5)


def backward(component, train):
    """Gradients of sum(out * cot) by (the parameters, the inputs that are no integers)."""
    variables, cotangents = component.leaves("w"), component.maps("cot")
    inputs = component.inputs

    def loss(parameters, inputs):
        outputs, _ = component.apply({**variables, "params": parameters}, inputs, train)
        return sum((a.reshape(b.shape) * b).sum() for a, b in zip(outputs, cotangents, strict=True))

    gradients = jax.jit(jax.grad(loss, (0, 1), allow_int=True))(variables["params"], inputs)
    floats = [jnp.issubdtype(x.dtype, jnp.floating) for x in inputs]
    return gradients[0], [g for g, real in zip(gradients[1], floats, strict=True) if real]


def assert_gradients_close(ours, theirs):
    """Relative in L2; leaves that should be zero hold rounding, compared with the largest."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(theirs))
    for (path, expected), leaf in zip(
        jax.tree.leaves_with_path(theirs), jax.tree.leaves(ours), strict=True
    ):
        bound = 1e-3 * max(np.linalg.norm(expected), 1e-4 * largest)
        assert np.linalg.norm(leaf - expected) <= bound, jax.tree_util.keystr(path)


def assert_backward_parity(component, train=False):
    suffix = "_train" if train else ""
    ours, input_gradients = backward(component, train)
    assert_gradients_close(ours, component.leaves(f"grad{suffix}")["params"])
    theirs = component.maps(f"grad_in{suffix}")
    for gradient, expected in zip(input_gradients, theirs, strict=True):
        difference = np.asarray(gradient).reshape(expected.shape) - expected
        assert np.linalg.norm(difference) <= 1e-3 * np.linalg.norm(expected)
