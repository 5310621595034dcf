"""Arrays are looked at before they are read: what leads elsewhere or is too large is refused."""

import io
import struct
import zipfile

import h5py
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import array_files
from diffdepth_jax.media.depth_reading import DepthForm, read_depth

VALUES = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


def refusal(path):
    """The one line with which reading depth ends."""
    with pytest.raises(UserError) as caught:
        read_depth(path, DepthForm())
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def external_link(file, other):
    file["depth"] = h5py.ExternalLink(other.name, "depth")


def external_link_of_another_name(file, other):
    """The only array that there seems to be."""
    file["values"] = h5py.ExternalLink(other.name, "depth")


def soft_link(file, other):
    file["depth"] = h5py.SoftLink("/depth")


def external_storage(file, other):
    raw = other.with_suffix(".raw")
    raw.write_bytes(VALUES.tobytes())
    file.create_dataset("depth", (2, 3), "f4", external=[(str(raw), 0, 24)])


def virtual(file, other):
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[...] = h5py.VirtualSource(str(other), "depth", (2, 3))
    file.create_virtual_dataset("depth", layout)


def group(file, other):
    file.create_group("depth")["depth"] = VALUES


def group_in_itself(file, other):
    file["depth"] = file["/"]


def empty(file, other):
    file["depth"] = h5py.Empty("f4")


def no_rows(file, other):
    file["depth"] = VALUES[:0]


def huge(file, other):
    """Nothing of it is stored."""
    file.create_dataset("depth", (10**7, 10**7), "f4", chunks=(100, 100))


def huge_chunk(file, other):
    file.create_dataset("depth", (2, 3), "f4", chunks=(2**15, 2**14), maxshape=(None, None))


def text(file, other):
    file["depth"] = "far"


def records(file, other):
    file["depth"] = np.zeros((2, 3), [("a", "f4"), ("b", "f4")])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (external_link, "a link to another place or file"),
        (external_link_of_another_name, "holds nothing"),
        (soft_link, "a link to another place or file"),
        (external_storage, "its values in other files"),
        (virtual, "its values in other files"),
        (group, "a group and no array"),
        (group_in_itself, "a group and no array"),
        (empty, "depth is empty"),
        (no_rows, "depth is empty"),
        (huge, "more than 1 GiB"),
        (huge_chunk, "more than 1 GiB"),
        (text, "not numbers"),
        (records, "not numbers"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_is_no_array_is_refused(tmp_path, write, words):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["depth"] = VALUES
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file, other)
    assert words in refusal(tmp_path / "a.h5")


def header(shape="(2, 3)", descr="'<f4'", order="False", version=1, text=None):
    """The beginning of a .npy file with these words in it."""
    words = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"
    words = (words if text is None else text).encode()
    size = struct.pack("<H" if version == 1 else "<I", len(words))
    return b"\x93NUMPY" + bytes([version, 0]) + size + words


HEADERS = {
    "terabytes": header("(1000000, 1000000)"),
    "beyond 64 bits": header("(99999999999999999999, 3)"),
    "negative": header("(-2, -3)"),
    "numbers with a point": header("(2.0, 3.0)"),
    "no tuple": header("6"),
    "true": header("(True, 3)"),
    "nested": header("(" * 500 + ")" * 500),
    "more values than there are": header("(20, 30)"),
    "objects": header(descr="'|O'"),
    "no such type": header(descr="'<f5'"),
    "type of no size": header(descr="'V0'"),
    "a long text": header(descr="'<U1000000000'"),
    "type that is a list": header(descr="[('a', '<f4', (100000, 100000))]"),
    "type that is a dict": header(descr="{'names': 3}"),
    "type in itself": header(descr="[('a', [('b', '<f4')])]"),
    "type that is nothing": header(descr="None"),
    "order that is a number": header(order="3"),
    "other names": header(text="{'a': 1}"),
    "no dict": header(text="[1, 2]"),
    "no end": header(text="{'descr': "),
    "a call": header(text="open('a')"),
    "a name": header(text="depth"),
    "zero bytes": header(text="\0\0\0"),
    "long": header(text="(" + "1, " * 40_000 + ")", version=2),
    "of version 3": header(version=3),
    "of version 9": header(version=9),
    "nothing": b"",
    "cut": header()[:20],
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_any_header_of_an_npy_file_ends_in_one_line(tmp_path, name, suffix):
    data, path = HEADERS[name] + VALUES.tobytes() * bool(HEADERS[name]), tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("depth.npy", data)
    refusal(path)


def test_what_is_stored_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(VALUES))
    np.savez_compressed(tmp_path / "a.npz", depth=VALUES, other=VALUES + 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"], file["other"] = VALUES, VALUES + 1
    for suffix in ("npy", "npz", "h5"):
        depth = read_depth(tmp_path / f"a.{suffix}", DepthForm())
        np.testing.assert_array_equal(depth[..., 0], VALUES)


def test_the_bound_is_that_of_the_values(monkeypatch):
    file = io.BytesIO()
    np.save(file, VALUES)
    monkeypatch.setattr(array_files, "MAX_BYTES", VALUES.nbytes)
    file.seek(0)
    np.testing.assert_array_equal(array_files.read_npy(file), VALUES)
    monkeypatch.setattr(array_files, "MAX_BYTES", VALUES.nbytes - 1)
    file.seek(0)
    with pytest.raises(ValueError, match="has more than"):
        array_files.read_npy(file)
