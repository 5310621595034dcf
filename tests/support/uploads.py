"""Files that users and others send to the web page, and a port for it to listen at."""

import socket

import numpy as np
from PIL import ExifTags, Image


def hostile(folder, kind):
    """Writes an upload that no estimator should see."""
    path = folder / f"{kind}.png"
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "program":
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    elif kind == "wide":
        Image.new("1", (20_000, 50)).save(path)
    elif kind == "bomb":  # 12 kB that unpack to 300 MB
        Image.new("1", (10_000, 10_000)).save(path)
    elif kind == "cut":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:500])
    elif kind == "deep":
        Image.new("I;16", (64, 64)).save(path)
    return path


def photo_file(folder, name="photo.jpg", size=(96, 64), **options):
    path = folder / name
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, **options)
    return path


def exif_with(millimetres):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = millimetres
    return exif


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
