"""Numbers of transformers, position tables of PyTorch, sizes that do not divide, registers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbones import dinov2, vit
from diffdepth_jax.models.backbones.dinov2 import DINOv2
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.models.backbones.resnet_test import normal
from tests.support import parity, tiny
from tests.torch_import.conversion_test import abstract_of, save

# Parity

# vectors: (registers, the interpolation that Hugging Face's code has)
MODELS = {"dinov2": (0, "size"), "dinov2_registers": (4, "size_antialiased")}
SIZES = ("70x70", "42x98", "112x56")  # the first is the table's, 5x5 patches


@functools.cache
def vectors(name):
    return dict(np.load(parity.GOLDEN / f"{name}.npz"))


def group(name, prefix):
    """Arrays under a prefix, as float32."""
    found = {k: v for k, v in vectors(name).items() if k.startswith(f"{prefix}/")}
    return {k.removeprefix(f"{prefix}/"): v.astype(np.float32) for k, v in found.items()}


def module_of(name, **fields):
    registers, interpolation = MODELS[name]
    defaults = {"layers": (1, 2), "num_registers": registers, "table_side": 5}
    defaults["position_interpolation"] = interpolation
    return DINOv2(features=8, depth=2, num_heads=2, **{**defaults, **fields})


def converted(name, prefix, path):
    tensors, kind = read_state_dict(save(path / f"{prefix}.safetensors", group(name, prefix)))
    assert kind.position_interpolation == MODELS[name][1]
    variables, messages = convert(tensors, kind, abstract_of(module_of(name)))
    assert messages == ["left out, because the backbone does not use them: embeddings.mask_token"]
    return {"params": variables["params"]["backbone"]}


def image_of(name, size):
    return parity.channels_last(vectors(name)[f"in/{size}"].astype(np.float32))


@pytest.fixture(scope="module", params=MODELS)
def weights(request, tmp_path_factory):
    return request.param, converted(request.param, "w", tmp_path_factory.mktemp("a"))


@pytest.mark.parametrize("size", SIZES)
def test_hidden_states_equal_those_of_transformers(weights, size):
    """After each block, and after the last norm."""
    name, variables = weights
    image, states = image_of(name, size), group(name, f"out/{size}")
    maps = jax.jit(module_of(name, normed=False).apply)(variables, image)
    last = jax.jit(module_of(name, layers=(2,)).apply)(variables, image)
    for index, x in enumerate([*maps, *last]):
        assert parity.relative_difference(x, states[str(index)]) < 5e-6


def test_gradients_equal_those_of_transformers(weights, tmp_path):
    """By the normed last map of an image of another size than the table's."""
    name, variables = weights
    module, image = module_of(name, layers=(2,)), image_of(name, SIZES[-1])
    cotangent = vectors(name)["cot"].astype(np.float32)

    def loss(params):
        (x,) = module.apply({"params": params}, image)
        return (x.reshape(cotangent.shape) * cotangent).sum()

    ours = parity.leaves_of(jax.jit(jax.grad(loss))(variables["params"]))
    theirs = parity.leaves_of(converted(name, "grad", tmp_path)["params"])
    assert ours.keys() == theirs.keys()
    for path, expected in theirs.items():
        difference = np.linalg.norm(ours[path] - expected)
        assert difference <= 1e-4 * np.linalg.norm(expected), path


def test_names_in_memory_are_those_of_the_file_after_joining(tmp_path):
    """transformers 5 calls its parameters otherwise than its files do."""
    for name in MODELS:
        in_file = group(name, "w")
        table = [
            ("attention.attention.query", "attention.q_proj"),
            ("attention.attention.key", "attention.k_proj"),
            ("attention.attention.value", "attention.v_proj"),
            ("attention.output.dense", "attention.o_proj"),
        ]
        renamed = {}
        for key, tensor in in_file.items():
            for theirs, other in table:
                key = key.replace(theirs, other)
            renamed[key] = tensor
        assert set(renamed) == set(vectors(name)["names"].tolist())
        tensors, kind = read_state_dict(save(tmp_path / "a.safetensors", renamed))
        variables, _ = convert(tensors, kind, abstract_of(module_of(name)))
        expected = converted(name, "w", tmp_path)["params"]
        jax.tree.map(np.testing.assert_array_equal, variables["params"]["backbone"], expected)


# Position tables


def pytorch_bicubic(table, rows, columns, offset):
    """F.interpolate(mode="bicubic") by scale factors, element by element, in float64."""
    side, a = len(table), -0.75

    def weight(x):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    def matrix(size):
        weights = np.zeros((size, side))
        for i in range(size):
            position = (i + 0.5) * side / (size + offset) - 0.5
            low = int(np.floor(position))
            for tap in range(low - 1, low + 3):
                weights[i, min(max(tap, 0), side - 1)] += weight(position - tap)
        return weights

    return np.einsum("ip,jq,pqc->ijc", matrix(rows), matrix(columns), table.astype(np.float64))


@pytest.mark.parametrize(("rule", "offset"), [("size", 0.0), ("scale_offset", 0.1)])
@pytest.mark.parametrize("size", [(14, 19), (5, 6), (1, 1), (9, 5), (40, 3)])
def test_tables_are_resized_as_by_pytorch(rule, offset, size):
    table = normal(5, 5, 3)
    expected = pytorch_bicubic(table, *size, offset)
    resized = dinov2.interpolate_table(table, *size, rule)
    np.testing.assert_allclose(resized, expected, atol=1e-5)


@pytest.mark.parametrize("rule", dinov2.INTERPOLATIONS)
def test_a_table_of_the_wanted_size_stays_as_it_is(rule):
    table = normal(5, 5, 3)
    np.testing.assert_array_equal(dinov2.interpolate_table(table, 5, 5, rule), table)


def test_the_rules_differ():
    resized = [
        dinov2.interpolate_table(normal(9, 9, 3), 4, 6, rule) for rule in dinov2.INTERPOLATIONS
    ]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(resized[i] - resized[j]).max() > 0.05


# The network


def small(**fields):
    defaults = {"features": 8, "depth": 3, "num_heads": 2, "layers": (1, 3), "num_registers": 2}
    return DINOv2(**{**defaults, **fields})


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (28, 42), (14, 129)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maps_have_stride_14_of_any_size(size, dtype):
    module, image = small(dtype=dtype), jnp.zeros((2, *size, 3))
    maps, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    rows, columns = (-(-side // 14) for side in size)
    assert [x.shape for x in maps] == [(2, rows, columns, 8)] * 2
    assert {x.dtype for x in maps} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_an_image_is_padded_with_zeros_at_right_and_bottom():
    module, image = small(), normal(1, 30, 15, 3)
    variables = tiny.init(module, image)
    apply = jax.jit(module.apply)
    padded = np.pad(image, ((0, 0), (0, 12), (0, 13), (0, 0)))
    jax.tree.map(np.testing.assert_array_equal, apply(variables, image), apply(variables, padded))


def test_bfloat16_is_close_to_float32():
    image = normal(2, 33, 47, 3)
    variables = tiny.init(small(), image)
    for full, half in zip(
        *(jax.jit(small(dtype=d).apply)(variables, image) for d in (jnp.float32, jnp.bfloat16)),
        strict=True,
    ):
        difference = np.asarray(full) - np.asarray(half, np.float32)
        assert 0 < np.sqrt(np.mean(difference**2) / np.mean(np.asarray(full) ** 2)) < 0.03


def test_the_softmax_is_in_float32():
    """Of a program that computes in bfloat16."""
    module, image = small(dtype=jnp.bfloat16), jnp.zeros((1, 28, 28, 3))
    variables = jax.eval_shape(module.init, jax.random.key(0), image)
    text = str(jax.make_jaxpr(module.apply)(variables, image))
    maxima = [line for line in text.splitlines() if "reduce_max" in line]
    sums = [line for line in text.splitlines() if " exp " in line]
    assert maxima and sums
    assert not [line for line in maxima + sums if "bf16" in line]


# With the mask token, which has one number for each channel and which no output sees.
PUBLISHED = {"dinov2_small": 22_056_576, "dinov2_base": 86_580_480, "dinov2_large": 304_368_640}


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("variant", PUBLISHED)
def test_variants_have_the_published_numbers_of_parameters(variant, registers):
    name = f"{variant}_registers" if registers else variant
    module = dinov2.create(
        name, layers=(), position_interpolation="size", drop_path_rate=0.0, dtype=jnp.float32
    )
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    expected = PUBLISHED[variant] + (registers - 1) * module.features
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


@pytest.mark.parametrize("layers", [(0, 2), (2, 1), (1, 1), (5,)])
def test_layers_that_do_not_exist_are_refused(layers):
    with pytest.raises(UserError, match=r"model\.backbone_layers .*: must rise within 1 to 4"):
        dinov2.create(
            "dinov2_nano",
            layers=layers,
            position_interpolation="size",
            drop_path_rate=0.0,
            dtype=jnp.float32,
        )


def test_drop_rates_rise_linearly_and_whole_images_are_dropped():
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, vit.Block) and context.method_name == "__call__":
            rates.append(context.module.drop_path_rate)
        return call(*args, **kwargs)

    module = small(drop_path_rate=0.5, depth=2, layers=(1, 2), normed=False)
    image = np.broadcast_to(normal(1, 14, 28, 3), (64, 14, 28, 3))
    with nn.intercept_methods(record):
        variables = tiny.init(module, image[:1])
    assert rates == [0, 0.5]
    apply = jax.jit(module.apply, static_argnums=2)
    first, last = apply(variables, image, True, rngs={"drop_path": jax.random.key(0)})
    residual = np.asarray(last - first).round(4).reshape(64, -1)
    assert len(np.unique(np.asarray(first).round(4).reshape(64, -1), axis=0)) == 1
    assert len(np.unique(residual, axis=0)) == 4  # both residuals of the block draw apart
