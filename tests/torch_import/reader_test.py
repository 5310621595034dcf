"""Samples that PyTorch wrote read back bit by bit; damaged and hostile files end by name.

tests/torch_files/make.py wrote the samples. The hostile files are made here, opcode by opcode where
`pickle` would not write them.
"""

import copyreg
import os
import pickle
import re
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import import reader_pickles
from diffdepth_jax.torch_import.reader import StoredTensor, read_torch_file
from tests.support.paths import SHARED, TORCH_FILES

END_TO_END = SHARED / "golden" / "end_to_end"
CHECKPOINTS = sorted(TORCH_FILES.glob("checkpoint_*.pt"))
MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True}


def assert_same_bits(tensor, expected):
    """The tensor, what it announces, and the array as expected; bfloat16 as its bits."""
    values = tensor.numpy()
    assert (values.shape, values.dtype) == (tensor.shape, tensor.dtype)
    if values.dtype == ml_dtypes.bfloat16:
        values = values.view(np.uint16)
    assert (values.shape, values.dtype) == (expected.shape, expected.dtype)
    assert values.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["tensors_zip.pt", "tensors_stream.pt", "tensors.safetensors"])
def test_every_dtype_and_every_view(name):
    tensors = read_torch_file(TORCH_FILES / name)
    expected = np.load(TORCH_FILES / "tensors.npz")
    assert set(tensors) == set(expected)
    for key in expected:
        assert_same_bits(tensors[key], expected[key])
    assert tensors["bfloat16"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("name", ["cuda_zip.pt", "cuda_stream.pt"])
def test_tensors_of_a_gpu(name):
    tensors = read_torch_file(TORCH_FILES / name)
    expected = np.load(TORCH_FILES / "tensors.npz")
    assert_same_bits(tensors["cuda"], expected["sliced"])
    assert_same_bits(tensors["again"], expected["row_of_slice"])


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_training_checkpoint(path):
    checkpoint = read_torch_file(path)
    moments = {f"exp_avg/{k}": s["exp_avg"] for k, s in checkpoint["optimizer"]["state"].items()}
    tensors = checkpoint["net"] | moments
    expected = np.load(TORCH_FILES / "checkpoint.npz")
    assert list(tensors) == list(expected)
    for key in expected:
        assert_same_bits(tensors[key], expected[key])
    assert checkpoint["amp"] == {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}}
    assert checkpoint["scheduler"][0]["milestones"] == {1: 1, 5: 1}
    assert checkpoint["args"] == {
        "max_depth": 88.0,
        "betas": (0.9, 0.999),
        "pretrain": None,
        "name": "größe",
        "nested": {"depths": [2, 2, 18, 2]},
    }


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_other_objects_are_plain_data(path):
    inert = read_torch_file(path)["inert"]
    assert inert["numpy_scalars"] == [0.25, -3, True, 1.5]
    assert inert["numpy_array"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert inert["numpy_fortran"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert inert["numpy_big_endian"].numpy().tolist() == [0, 1, 2]
    assert inert["numpy_text"].numpy().tolist() == ["a", "bcd"]
    assert inert["numpy_empty"].shape == (0, 2)
    rest = {key: value for key, value in inert.items() if not key.startswith("numpy")}
    assert rest == {
        "size": (2, 3),
        "dtype": "torch.bfloat16",
        "devices": ["cpu", "cuda:0"],
        "set": {1, 2},
        "frozenset": frozenset({"a"}),
        "bytes": [b"", b"\x00\xff"],
        "big": 2**70,
        "complex_keys": {(1, "a"): True, None: False},
    }


def test_array_belongs_to_the_caller():
    tensor = read_torch_file(TORCH_FILES / "tensors_zip.pt")["expanded"]
    values = tensor.numpy()
    values[0, 0] += 1
    assert np.sum(values != tensor.numpy()) == 1
    assert np.asarray(tensor, np.float64).dtype == np.float64


def test_path_may_be_relative(monkeypatch, tmp_path):
    monkeypatch.chdir(TORCH_FILES)
    tensor = read_torch_file("cuda_zip.pt")["cuda"]
    monkeypatch.chdir(tmp_path)
    assert tensor.numpy().shape == tensor.shape


@pytest.mark.skipif(not END_TO_END.is_dir(), reason=f"{END_TO_END} does not exist")
def test_checkpoints_in_the_released_layout():
    paths = sorted(END_TO_END.glob("*.pt"))
    assert paths
    for path in paths:
        checkpoint = read_torch_file(path)
        assert checkpoint["args"]["max_depth"] > 0
        for name, tensor in checkpoint["net"].items():
            # Relative position tables hold integers.
            assert np.isfinite(tensor.numpy()).all() or "level_embed" in name
            assert tensor.numpy().shape == tensor.shape


# Files made by hand.


def dump(data):
    """The opcodes that push the data, without the frame around them."""
    return pickle.dumps(data, 2)[2:-1]


def push(*items):
    """Opcodes that push a tuple; bytes are opcodes already."""
    opcodes = [item if isinstance(item, bytes) else dump(item) for item in items]
    return b"(" + b"".join(opcodes) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(module, attribute, *arguments):
    return name(module, attribute) + push(*arguments) + b"R"


def build(target, state):
    return target + (state if isinstance(state, bytes) else dump(state)) + b"b"


def storage(numel=6, kind="FloatStorage", key="0", view=()):
    return push("storage", name("torch", kind), key, "cpu", numel, *view) + b"Q"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, of=None, metadata=()):
    hooks = call("collections", "OrderedDict")
    arguments = (of or storage(), offset, shape, strides, False, hooks, *metadata)
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def whole(opcodes):
    return b"\x80\x02" + opcodes + b"."


FLOATS = np.arange(6, dtype=np.float32)


def write_zip(path, opcodes, values=FLOATS, compression=zipfile.ZIP_STORED, **more):
    entries = {"data.pkl": whole(opcodes), "data/0": values.tobytes(), **more}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, data in entries.items():
            archive.writestr(f"any prefix/{entry}", data)
    return path


def write_stream(path, opcodes, values=FLOATS, system=SYSTEM, keys=("0",), numel=6):
    pickles = [dump(MAGIC), dump(1001), dump(system), opcodes, dump(list(keys))]
    storages = struct.pack("<q", numel) + values.tobytes()
    path.write_bytes(b"".join(map(whole, pickles)) + storages)
    return path


WRITERS = [write_zip, write_stream]


def refusal(path):
    """The message with which reading the file ends: one line that names the file and a remedy."""
    with pytest.raises(UserError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert re.search(r": (check|save|give|unpack)", message)
    return message


@pytest.mark.parametrize("write", WRITERS)
def test_files_made_here_are_read_unless_they_are_wrong(write, tmp_path):
    path = write(tmp_path / "a.pt", tensor())
    assert_same_bits(read_torch_file(path), FLOATS.reshape(2, 3))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "opcodes",
    {
        "few strides": tensor(strides=(1,)),
        "negative size": tensor(shape=(-2, -3)),
        "negative stride": tensor(strides=(-3, 1), offset=3),
        "negative offset": tensor(offset=-1),
        "sizes that are no integers": tensor(shape=(2.0, 3.0)),
        "long stride": tensor(strides=(4, 1)),
        "large offset": tensor(offset=1),
        "large offset of an empty tensor": tensor(shape=(0, 3), offset=7),
        "many dimensions": tensor(shape=(1,) * 65, strides=(1,) * 65),
        "terabytes by expansion": tensor(shape=(2**20, 2**20), strides=(0, 0)),
        "overflowing empty sizes": tensor(shape=(0, 2**40, 2**40), strides=(0, 0, 0)),
        "overflowing stride": tensor(shape=(1, 6), strides=(2**62, 1)),
        "strides that are lists": tensor(shape=(2**40,), strides=([0],)),
        "conjugated": tensor(metadata=({"conj": True},)),
        "storage larger than the file": tensor(of=storage(numel=2**60)),
        "storage of negative size": tensor(of=storage(numel=-6)),
        "storage of fractional size": tensor(of=storage(numel=6.0)),
        "storage of wider elements": tensor(of=storage(kind="DoubleStorage")),
        "storage that is a view": tensor(of=storage(view=[("1", 0, 3)])),
        "storage of two types": push(tensor(), tensor(of=storage(kind="IntStorage"))),
        "storage missing": tensor(of=storage(key="7")),
        "storage that is none": tensor(of=dump("storage")),
        "tensor in place of its storage": tensor(of=tensor()),
    }.items(),
    ids=lambda item: item[0],
)
def test_tensor_outside_its_storage(write, opcodes, tmp_path):
    refusal(write(tmp_path / "a.pt", opcodes[1]))


@pytest.mark.parametrize("sample", ["tensors_zip.pt", "tensors_stream.pt", "tensors.safetensors"])
def test_truncated_anywhere(sample, tmp_path):
    data = (TORCH_FILES / sample).read_bytes()
    path = tmp_path / "a.pt"
    for size in [*range(0, 200), *range(200, len(data), 397), len(data) - 1]:
        path.write_bytes(data[:size])
        refusal(path)


@pytest.mark.parametrize("sample", ["checkpoint_zip.pt", "checkpoint_stream.pt"])
def test_damaged_anywhere(sample, tmp_path):
    """Either the data comes out, some of it wrong, or a message."""
    data = (TORCH_FILES / sample).read_bytes()
    path = tmp_path / "a.pt"
    for position in range(0, len(data), 17):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            read_torch_file(path)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_truncated_after_it_was_opened(tmp_path):
    path = write_stream(tmp_path / "a.pt", tensor())
    stored = read_torch_file(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="shorter"):
        stored.numpy()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (b"P", "no whole file"),
        (b"<!DOCTYPE html><html>Sign in</html>", "no whole file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no whole file"),
        (pickle.dumps({"net": 1}), "a pickle, but not one of torch.save"),
        (b"\x80\x02", "before seeing STOP"),
        (b"PK\x03\x04" + bytes(100), "no whole file"),
        (b"\xff" * 8 + b"{}", "header"),
    ],
)
def test_no_checkpoint_at_all(data, part, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    assert part in refusal(path)


def test_no_file_at_all(tmp_path):
    assert "No such file" in refusal(tmp_path / "a.pt")
    assert "Is a directory" in refusal(tmp_path)


def test_archives_that_are_something_else(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "")
    assert "without data.pkl" in refusal(path)
    for entry in ("constants.pkl", "code/__torch__.py"):
        assert "TorchScript" in refusal(write_zip(path, tensor(), **{entry: b"x"}))


def test_entry_that_is_not_where_the_archive_says(tmp_path):
    path = write_zip(tmp_path / "a.pt", tensor())
    path.write_bytes(path.read_bytes().replace(b"any prefix/data/0", b"any prefix/data/1", 1))
    refusal(path)


def test_compressed_archive(tmp_path):
    path = write_zip(tmp_path / "a.pt", tensor(), compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)


def test_big_endian(tmp_path):
    path = tmp_path / "a.pt"
    assert "big-endian" in refusal(write_zip(path, tensor(), byteorder=b"big"))
    little = read_torch_file(write_zip(path, tensor(), byteorder=b"little"))
    assert_same_bits(little, FLOATS.reshape(2, 3))
    system = SYSTEM | {"little_endian": False}
    assert "big-endian" in refusal(write_stream(path, tensor(), system=system))


def test_stream_whose_storages_are_not_those_of_the_tensors(tmp_path):
    path = tmp_path / "a.pt"
    for wrong in ({"keys": ()}, {"keys": ("0", "1")}, {"keys": ("0", "0")}, {"numel": 5}):
        refusal(write_stream(path, tensor(), **wrong))
    for numel in (-1, -(2**62), 2**62):
        empty = tensor(of=storage(0), shape=(0,), strides=(1,))
        refusal(write_stream(path, empty, values=np.zeros(0, np.float32), numel=numel))


def test_safetensors_of_another_dtype(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(2, np.uint32)}, path)
    assert "weight as U32" in refusal(path)


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


NESTED_NAMES = [
    ("torch", "_utils.os.system"),
    ("torch._utils", "os.system"),
    ("torch.Size", "__init__.__globals__"),
    ("numpy", "ndarray.tofile"),
    ("collections", "OrderedDict.update"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("diffdepth_jax.torch_import.reader", "os.system"),
    ("os\n", "system"),
]


def hostile(created):
    """Pickles that would create the file, each behind the name that has to be refused."""
    touch = f"touch {created}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield "posix.system", pickle.dumps(Call(os.system, touch), protocol)
        yield "builtins.eval", pickle.dumps(Call(eval, f"open({str(created)!r}, 'w')"), protocol)
    yield "os.system", b"(" + dump(touch) + b"ios\nsystem\n."  # INST
    yield "os.system", b"(" + name("os", "system") + dump(touch) + b"o."  # OBJ
    yield "builtins.open", whole(call("__builtin__", "open", str(created), "w"))
    yield "builtins.getattr", whole(call("builtins", "getattr", name("torch", "Size"), "x"))
    for module, attribute in NESTED_NAMES:
        stack_global = dump(module) + dump(attribute) + b"\x93"
        yield f"{module}.{attribute}", whole(stack_global + push(touch) + b"R")
    setstate = b"}" + dump("__setstate__") + name("os", "system") + b"s"
    yield "os.system", whole(build(build(call("argparse", "Namespace"), setstate), touch))


def test_no_name_is_ever_run(tmp_path):
    created, path = tmp_path / "created", tmp_path / "a.pt"
    for refused, pickled in hostile(created):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", pickled)
        assert f"names {refused!r}" in refusal(path)
        # In the place of each pickle of the other format, which starts with PROTO.
        sound = [whole(dump(data)) for data in (MAGIC, 1001, SYSTEM, {}, [])]
        for place in range(0 if pickled.startswith(pickle.PROTO) else 1, len(sound)):
            path.write_bytes(b"".join([*sound[:place], pickled, *sound[place + 1 :]]))
            assert f"names {refused!r}" in refusal(path)
    assert not created.exists()


SET = name("builtins", "set")
WRITE_SLOT = push(None, b"}" + dump("__setstate__") + SET + b"s")


STATELESS = [
    name("argparse", "Namespace"),
    name("collections", "OrderedDict"),
    name("numpy", "dtype"),
    name("torch", "FloatStorage"),
    name("torch._utils", "_rebuild_tensor_v2"),
    SET,
    tensor(),
    storage(),
    dump("text"),
    dump({}),
]


@pytest.mark.parametrize("state", [{"shape": (9, 9)}, WRITE_SLOT])
@pytest.mark.parametrize("target", STATELESS)
def test_state_is_never_set_on_what_has_none(target, state, tmp_path):
    refusal(write_zip(tmp_path / "a.pt", build(target, state)))
    sound = read_torch_file(write_zip(tmp_path / "b.pt", tensor()))
    assert_same_bits(sound, FLOATS.reshape(2, 3))


def test_state_of_a_namespace_is_data_whatever_its_names(tmp_path):
    state = {"__setstate__": 1, "__class__": 2, "update": 3}
    opcodes = build(build(call("argparse", "Namespace"), state), {"b": 4})
    assert read_torch_file(write_zip(tmp_path / "a.pt", opcodes)) == state | {"b": 4}
    refusal(write_zip(tmp_path / "a.pt", build(call("argparse", "Namespace"), WRITE_SLOT)))
    opcodes = build(call("collections", "OrderedDict"), {"_metadata": 1})
    assert read_torch_file(write_zip(tmp_path / "a.pt", opcodes)) == {}


def numpy_array(shape, dtype, data):
    empty = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), "b")
    state = push(1, shape, call("numpy", "dtype", dtype, False, True), False, data)
    return build(empty, state)


def test_numpy_arrays_belong_to_the_caller(tmp_path):
    path = write_zip(tmp_path / "a.pt", numpy_array((2,), "u1", dump(b"ab")))
    array = read_torch_file(path)
    array.numpy()[:] = 0
    assert array.numpy().tolist() == [97, 98]


def test_numpy_arrays_of_objects_and_of_too_few_bytes(tmp_path):
    for opcodes in [
        numpy_array((1,), "O8", dump([1])),
        numpy_array((9,), "u1", dump("ab")),
        numpy_array((2**40,), "f8", dump(b"12345678")),
        call("numpy", "dtype", None, False, True),
        call("numpy", "dtype", "V8", False, True),
        call("numpy", "dtype", "f8,f8", False, True),
        call("numpy", "dtype", [("a", "O8")], False, True),
    ]:
        refusal(write_zip(tmp_path / "a.pt", opcodes))


REPEATED = "repeats parts of itself"
TEXT, NUMBERS = "x" * 10_000, list(range(1000))


def again(function, argument, times):
    """Calls a function, which is a name of a pickle, with one and the same argument."""
    prepared = push(argument) + b"q\x010" + name(*function) + b"q\x020"
    return b"(" + prepared + b"h\x02h\x01R" * times + b"l"


@pytest.mark.parametrize(
    ("function", "argument", "times"),
    [
        (("builtins", "set"), NUMBERS, 40),
        (("builtins", "frozenset"), NUMBERS, 40),
        (("torch", "Size"), NUMBERS, 40),
        (("collections", "OrderedDict"), [(n, 0) for n in NUMBERS], 60),
        (("torch", "device"), TEXT, 60),
    ],
)
def test_calls_that_repeat_one_argument_are_bounded(function, argument, times, tmp_path):
    """One call of a small file is fine, and so are a few."""
    assert read_torch_file(write_zip(tmp_path / "a.pt", again(function, argument, 2)))
    assert REPEATED in refusal(write_zip(tmp_path / "b.pt", again(function, argument, times)))


def test_bytes_that_calls_encode_are_bounded(tmp_path):
    prepared = push(TEXT, "latin1") + b"q\x010" + name("_codecs", "encode") + b"q\x020"
    for times, path in ((2, tmp_path / "a.pt"), (60, tmp_path / "b.pt")):
        write_zip(path, b"(" + prepared + b"h\x02h\x01R" * times + b"l")
    assert read_torch_file(tmp_path / "a.pt") == [TEXT.encode()] * 2
    assert REPEATED in refusal(tmp_path / "b.pt")


def test_states_that_are_set_again_and_again_are_bounded(tmp_path):
    state = b"(" + dump(dict.fromkeys(map(str, NUMBERS))) + b"q\x010"
    opcodes = state + (call("argparse", "Namespace") + b"h\x01b") * 60 + b"l"
    assert REPEATED in refusal(write_zip(tmp_path / "a.pt", opcodes))


ONE_HASH = [n * (2**61 - 1) for n in range(1, 4)]  # of all of them it is 0


def nested_tuples(levels):
    """A tuple that holds a tuple twice, and so on: hashing it takes 2**levels steps."""
    return dump((1, 1)) + b"2\x86" * levels


@pytest.mark.parametrize(
    "opcodes",
    {
        "integers of one hash": dump(dict.fromkeys(ONE_HASH)),
        "a set of them": b"\x8f(" + b"".join(map(dump, ONE_HASH)) + b"\x90",
        "a frozenset of them": b"(" + b"".join(map(dump, ONE_HASH)) + b"\x91",
        "a set by its name": call("builtins", "set", ONE_HASH),
        "a frozenset by its name": call("builtins", "frozenset", ONE_HASH),
        "an ordered dict": call("collections", "OrderedDict", [(n, 0) for n in ONE_HASH]),
        "one by one": b"}" + b"".join(dump(n) + b"Ns" for n in ONE_HASH),
        "of the oldest pickles": b"(" + b"".join(dump(n) + b"N" for n in ONE_HASH) + b"d",
        "nested tuples": b"}" + nested_tuples(9) + b"Ns",
        "a frozenset": b"}(K\x01\x91" + b"Ns",
    }.items(),
    ids=lambda item: item[0],
)
def test_keys_that_take_long_to_hash_or_to_compare_are_refused(opcodes, tmp_path):
    assert re.search(
        "a key (is neither|or an item)", refusal(write_zip(tmp_path / "a.pt", opcodes[1]))
    )


def test_keys_that_are_tuples_are_few(monkeypatch, tmp_path):
    path = write_zip(tmp_path / "a.pt", dump({(n, n): n for n in range(3)}))
    assert len(read_torch_file(path)) == 3
    monkeypatch.setattr(reader_pickles, "MAX_TUPLE_KEYS", 2)
    assert "too many keys that are tuples" in refusal(path)


def test_the_steps_of_a_pickle_are_bounded(monkeypatch, tmp_path):
    path = write_zip(tmp_path / "a.pt", dump(list(range(30))))
    assert read_torch_file(path) == list(range(30))
    monkeypatch.setattr(reader_pickles, "MAX_STEPS", 20)
    assert "over 20 steps" in refusal(path)


def test_nesting_takes_no_recursion(tmp_path):
    opcodes = b"]" * 100_000 + b"a" * 99_999
    data = read_torch_file(write_zip(tmp_path / "a.pt", opcodes))
    for _ in range(100):
        (data,) = data


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_that_repeat_their_values_are_bounded(write, tmp_path):
    """Each of 12 million values, of which the file has six."""
    large = tensor(shape=(2**22, 3), strides=(0, 1))
    assert read_torch_file(write(tmp_path / "a.pt", large)).shape == (2**22, 3)
    message = refusal(write(tmp_path / "b.pt", push(large, large)))
    assert "tensors that repeat its values" in message


def test_arrays_that_repeat_their_bytes_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(reader_pickles, "_MORE_VALUES", 0)
    empty = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), "b")
    text = b"X" + struct.pack("<I", 10_000) + b"x" * 10_000
    state = push(1, (10_000,), call("numpy", "dtype", "u1", False, True), False)[:-1]
    state += name("_codecs", "encode") + b"(" + text + dump("latin1") + b"tRt"
    opcodes = b"(" + state + b"q\x010" + (empty + b"h\x01b") * 9 + b"l"
    assert "repeat its values" in refusal(write_zip(tmp_path / "a.pt", opcodes))


@pytest.mark.parametrize(
    "pid",
    [
        push("storage", name("torch", "FloatStorage"), (("0",),), "cpu", 6),
        push("storage", nested_tuples(9), "0", "cpu", 6),
        push("storage", name("torch", "FloatStorage"), "0", "cpu", 2**3000),
        push("storage", name("torch", "FloatStorage"), "0", "cpu", 6, None, None, None),
    ],
)
def test_storages_that_are_described_at_length_are_refused(pid, tmp_path):
    refusal(write_zip(tmp_path / "a.pt", tensor(of=pid + b"Q")))


def test_keys_of_a_stream_are_texts(tmp_path):
    path = write_stream(tmp_path / "a.pt", tensor(), keys=((("0",),),))
    assert "a key or an item" in refusal(path)


def test_text_of_python_2(tmp_path):
    opcodes = b"U\x05gr\xf6\xdfe"  # SHORT_BINSTRING
    assert read_torch_file(write_zip(tmp_path / "a.pt", opcodes)) == "größe"


def test_memo_index_that_would_allocate_gigabytes(tmp_path):
    opcodes = dump(1) + b"r" + struct.pack("<I", 2**31 - 1)
    assert "LONG_BINPUT" in refusal(write_zip(tmp_path / "a.pt", opcodes))


def test_extension_registry_is_not_used(tmp_path):
    copyreg.add_extension("os", "getcwd", 240)
    try:
        pickle.loads(whole(b"\x82\xf0"))  # now it is cached and no longer looked up by name
        assert "EXT1" in refusal(write_zip(tmp_path / "a.pt", b"\x82\xf0)R"))
    finally:
        copyreg.remove_extension("os", "getcwd", 240)


def test_announced_length_beyond_the_file(tmp_path):
    for opcode in (b"\x8e", b"\x96", b"\x8d"):  # BINBYTES8, BYTEARRAY8, BINUNICODE8
        refusal(write_zip(tmp_path / "a.pt", opcode + struct.pack("<Q", 2**40)))


def test_what_is_returned_says_what_it_is():
    tensors = read_torch_file(TORCH_FILES / "tensors_zip.pt")
    assert all(isinstance(tensor, StoredTensor) for tensor in tensors.values())
    assert repr(tensors["base"]) == "StoredTensor((4, 5, 6), float32)"
