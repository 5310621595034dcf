#!/usr/bin/env bash
# transformers: depth that is brought to the photo's size has metres below zero, and some beyond the farthest.
#
# Guess: a resized depth map lies between its nearest and its farthest metre. Seen: post_process_depth_estimation of the
# processors of DPT and Depth Anything resizes by bicubic interpolation and keeps what it overshoots. A box at
# 0.5 m in front of a wall at 10 m reaches from -1.7 m, and the wall to 11.2 m. The depth-estimation pipeline calls it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 numpy==2.4.6 pillow==12.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import torch
from transformers import DPTImageProcessorPil
from transformers.models.depth_anything.modeling_depth_anything import DepthEstimatorOutput

metres = torch.full((1, 56, 70), 10.0)
metres[:, 20:40, 20:50] = 0.5
outputs = DepthEstimatorOutput(predicted_depth=metres)
resized = DPTImageProcessorPil().post_process_depth_estimation(outputs, [(224, 280)])[0]["predicted_depth"]
below, beyond = (resized < 0).sum().item(), (resized > 10).sum().item()
print("transformers", importlib.metadata.version("transformers"), "torch", torch.__version__)
print("predicted: %.2f to %.2f m" % (metres.min(), metres.max()))
print("resized to 4 times the size: %.2f to %.2f m" % (resized.min(), resized.max()))
print(below, "pixels below 0 m,", beyond, "beyond 10 m, of", resized.numel())
assert resized.min() < -0.5 and resized.max() > 10.5, "resized depth stays between its metres now"
PYTHON
