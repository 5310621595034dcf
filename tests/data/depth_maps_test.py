"""Depth maps in one file, as monodepth2 exports them; no pickle in it runs anything."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from diffdepth_jax.data.kitti_depth.depth_maps import split_maps
from diffdepth_jax.errors import UserError

MAPS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.full((3, 2), 7.25, np.float32)]


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def write_pickled(path, pickled):
    """An .npz file whose `data` is an array of objects with this pickle."""
    header = io.BytesIO()
    fields = {"descr": "|O", "fortran_order": False, "shape": (2,)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", header.getvalue() + pickled)
    return path


def assert_maps(path, expected, folder):
    files = split_maps(path, folder)
    assert len(files) == len(expected)
    for file, depth in zip(files, expected, strict=True):
        stored = np.load(file, allow_pickle=False)
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, depth)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_maps_of_several_sizes_are_an_array_of_objects(tmp_path, save):
    save(tmp_path / "gt_depths.npz", data=objects(*MAPS))
    assert_maps(tmp_path / "gt_depths.npz", MAPS, tmp_path / "out")


def test_maps_in_other_orders_of_bytes_and_axes(tmp_path):
    stored = objects(np.asfortranarray(MAPS[0]), MAPS[1].astype(">f4"), MAPS[1].astype(np.float16))
    np.savez(tmp_path / "a.npz", data=stored)
    assert_maps(tmp_path / "a.npz", [*MAPS, MAPS[1]], tmp_path / "out")


def test_maps_of_one_size_and_an_array_for_each_map(tmp_path):
    np.savez(tmp_path / "one.npz", data=np.stack([MAPS[0]] * 3))
    assert_maps(tmp_path / "one.npz", [MAPS[0]] * 3, tmp_path / "out")
    np.savez(tmp_path / "each.npz", *[MAPS[index % 2] for index in range(12)])
    assert_maps(tmp_path / "each.npz", [MAPS[index % 2] for index in range(12)], tmp_path / "out")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL))
def test_older_pickles(tmp_path, protocol):
    pickled = pickle.dumps(objects(*MAPS), protocol)
    older = pickled.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    assert_maps(write_pickled(tmp_path / "a.npz", older), MAPS, tmp_path / "out")


def python2_array(shape, code, data):
    """Opcodes of an array as Python 2 pickles it; its texts are bytes."""
    dtype = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR"
    flags = b"\x3f" if code == b"O8" else b"\x00"
    dtype += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + flags + b"tb"
    sizes = b"(" + b"".join(b"K" + bytes([size]) for size in shape) + b"t"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return empty + b"(K\x01" + sizes + dtype + b"I00\n" + data + b"tb"


def test_a_file_of_python_2(tmp_path):
    maps = [python2_array(m.shape, b"f4", b"U" + bytes([m.nbytes]) + m.tobytes()) for m in MAPS]
    pickled = b"\x80\x02" + python2_array((2,), b"O8", b"(" + b"".join(maps) + b"l") + b"."
    assert pickle.loads(pickled, encoding="latin1")[1].tolist() == MAPS[1].tolist()
    assert_maps(write_pickled(tmp_path / "a.npz", pickled), MAPS, tmp_path / "out")


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refusal(path, folder):
    with pytest.raises(UserError) as error:
        split_maps(path, folder)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and "np.savez(file, *maps)" in message
    assert not folder.exists() or not list(folder.iterdir())
    return message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_name_is_ever_run(tmp_path, protocol):
    touch = Call(os.system, f"touch {tmp_path / 'created'}")
    for values in ((touch, MAPS[0]), (MAPS[0], [touch])):
        pickled = pickle.dumps(objects(*values), protocol)
        message = refusal(write_pickled(tmp_path / "a.npz", pickled), tmp_path / "out")
        assert "it names" in message and "refused" in message
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize(
    "name", [b"numpy\nndarray.tofile", b"builtins\neval", b"numpy\nload", b"_codecs\ndecode"]
)
def test_other_names_of_known_modules_are_refused(tmp_path, name):
    pickled = b"\x80\x02c" + name + b"\n."
    assert "refused" in refusal(write_pickled(tmp_path / "a.npz", pickled), tmp_path / "out")


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02\x82\xf0.",  # an extension code
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo index of 2^31, and a number
        b"\x80\x05\x96\0\0\0\0\1\0\0\0.",  # a bytearray
        b"",
        b"\x80",
        b"cnumpy\ndtype\n}b.",  # state for a class
        b"c_codecs\nencode\n}b.",  # and for a function
    ],
)
def test_odd_pickles_are_refused(tmp_path, pickled):
    refusal(write_pickled(tmp_path / "a.npz", pickled), tmp_path / "out")


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (objects(*MAPS, np.arange(4)), "values of type 'i8'"),
        (objects(*MAPS, "text"), "cannot be read"),
        (objects(*MAPS, np.zeros(4)), "map 3 is float64"),
        (objects(objects(1, 2), MAPS[0]), "cannot be read"),
        (np.zeros((2, 3, 4), np.uint16), "map 1 is uint16"),
        (np.zeros((2, 3)), "map 1 is float64"),
    ],
)
def test_what_is_no_depth_map_is_refused(tmp_path, maps, message):
    np.savez(tmp_path / "a.npz", data=maps)
    assert message in refusal(tmp_path / "a.npz", tmp_path / "out")


@pytest.mark.parametrize("kept", [0, 0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "a.npz"
    np.savez(path, data=objects(*MAPS))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refusal(path, tmp_path / "out")


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "No such file" in refusal(tmp_path / "a.npz", tmp_path / "out")
