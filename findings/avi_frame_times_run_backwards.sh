#!/usr/bin/env bash
# PyAV, FFmpeg: the frames of an AVI with H.264 come in the right order, but their time stamps (pts) do not increase.
#
# Guess: decoded frames have increasing pts, whatever the container. Seen: AVI stores no time of display. FFmpeg makes one of
# the order of storage, so that with B-frames frame.time jumps back and forth. frame.dts increases instead, and is None
# for the last frames. A program that places frames by frame.time puts some of them at another's time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from fractions import Fraction

import av
import numpy as np

levels = np.random.default_rng(0).integers(0, 255, (64, 200, 3)).astype(np.uint8)


def write(path):
    """Twenty frames of a picture that moves to the side, each with its own level in the corner."""
    container = av.open(path, "w")
    stream = container.add_stream("libx264", rate=30, options={"bf": "3", "b-pyramid": "normal", "threads": "1"})
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for index in range(20):
        image = levels[:, 3 * index : 3 * index + 96].copy()
        image[:32, :32] = 12 * index
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 30)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
    container.close()


def read(path):
    frames = list(av.open(path).decode(video=0))
    corners = [frame.to_ndarray(format="rgb24")[8:24, 8:24].mean() for frame in frames]
    return corners, [frame.pts for frame in frames], [frame.dts for frame in frames]


print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
for name in ("clip.mp4", "clip.avi"):
    path = f"{sys.argv[1]}/{name}"
    write(path)
    corners, pts, dts = read(path)
    assert corners == sorted(corners) and len(corners) == 20, "frames are out of order"
    print(name, "pts:", pts, "dts:", dts)
    assert (pts == sorted(pts)) == (name == "clip.mp4"), f"{name}: the order of pts changed"
known = [stamp for stamp in dts if stamp is not None]
assert known == sorted(known) and dts[-1] is None
PYTHON
