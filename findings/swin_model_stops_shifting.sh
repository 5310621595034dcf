#!/usr/bin/env bash
# transformers: a SwinModel remembers the smallest map that it ever saw, and never shifts its windows there again.
#
# Guess: the output of a model in eval mode depends on weights and image alone. Seen: after one small image, a layer
# whose map was no larger than the window keeps shift_size 0, so that a large image gets other features than before,
# and than from the same weights freshly loaded. SwinBackbone does not do this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata

import torch
from transformers import SwinBackbone, SwinConfig, SwinModel

sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 64}
torch.manual_seed(0)
large, small = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 32)


@torch.no_grad()
def changes(model, read):
    """The largest change of the features of `large` once the model has seen `small`, and their largest value."""
    model = model.eval()
    before = read(model(large))
    model(small)
    return (read(model(large)) - before).abs().max().item(), before.abs().max().item()


model = changes(SwinModel(SwinConfig(**sizes), add_pooling_layer=False), lambda out: out.last_hidden_state)
backbone = changes(SwinBackbone(SwinConfig(**sizes)), lambda out: out.feature_maps[-1])
print("transformers", importlib.metadata.version("transformers"), "torch", torch.__version__)
print("SwinModel: the same image, after a small one: largest change %.3f of %.3f" % model)
print("SwinBackbone: %.3f of %.3f" % backbone)
assert model[0] > 0.01 * model[1], "SwinModel no longer keeps the small window"
assert backbone[0] == 0, "SwinBackbone changed"
PYTHON
