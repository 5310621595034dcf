"""The kinds of files that are converted, and the marks by which a file's kind is known."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from diffdepth_jax.torch_import import rules_backbones
from diffdepth_jax.torch_import.reader import StoredTensor
from diffdepth_jax.torch_import.rules import (
    HEAD_RULES,
    SWIN_HUGGING_FACE,
    SWIN_MM,
    SWIN_OFFICIAL,
    SWIN_TIMM,
    Rule,
    within,
)
from diffdepth_jax.torch_import.rules_depth_anything import (
    DEPTH_ANYTHING_HUGGING_FACE,
    DEPTH_ANYTHING_OFFICIAL,
)
from diffdepth_jax.torch_import.rules_dinov2 import (
    DINOV2_HUGGING_FACE,
    DINOV2_OFFICIAL,
    DINOV2_TIMM_REGISTERS,
)
from diffdepth_jax.torch_import.rules_dinov3 import (
    DINOV3_HUGGING_FACE,
    DINOV3_OFFICIAL,
    DINOV3_TIMM,
)
from diffdepth_jax.torch_import.rules_efficientnet import EFFICIENTNET_LITE
from diffdepth_jax.torch_import.rules_torchvision import SWIN_TORCHVISION

Tensors = Mapping[str, StoredTensor]  # a state dict: tensors by name


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
      name: for messages.
      marker: pattern of a tensor's name that this kind has, and none of the kinds below it.
      rules: see `rules`.
      lacking: pattern of the leaves that the file lacks. They start so that they leave the features
        unchanged: scales at 1, the rest at 0.
      window_shift: the `model.window_shift` of the code that the file belongs to; None where it has
        no influence.
      position_interpolation: the `model.position_interpolation` of that code, likewise.
      second_marker: pattern of a name that the file must have too.
      notes: messages about one file, from `read_state_dict`.
      backbone: pattern of the names of the backbone's tensors in a file of a whole model; None: the
        file holds a backbone alone.
    """

    name: str
    marker: str
    rules: list[Rule]
    lacking: str
    window_shift: str | None = None
    second_marker: str = ".*"
    notes: tuple[str, ...] = ()
    position_interpolation: str | None = None
    backbone: str | None = None

    @property
    def backbone_only(self) -> bool:
        """Whether the file holds a backbone and not a whole model."""
        return self.backbone is None


# A moving average of torch.optim.swa_utils counts its updates.
_COUNTER: Rule = (r"n_averaged", "", "ignore")


def _released(
    name: str, marker: str, rules: Iterable[Rule], window_shift: str | None = None
) -> Kind:
    rules = within(r"depth_backbone\.", "backbone", rules) + within(r"depth_head\.", "", HEAD_RULES)
    return Kind(
        f"released DiffusionDepth with {name}",
        rf"depth_backbone\.{marker}",
        [*rules, _COUNTER],
        r"^$",
        window_shift,
        backbone=r"depth_backbone\..*",
    )


def _swin(
    name: str, table: str, rules: Iterable[Rule], window_shift: str, marker: str | None = None
) -> Kind:
    """A kind of Swin; `table` is the prefix of its position-bias tables.

    Many networks have blocks of the same names, but not these tables.
    """
    table = rf"{table}\.(?:.+\.)?relative_position_bias_table"
    rules = [*within("", "backbone", rules), _COUNTER]
    lacking = r"params/backbone/(?:norm[0-3]|position)/.*"
    name = f"Swin, {name} naming"
    return Kind(name, marker or table, rules, lacking, window_shift, second_marker=table)


def _dinov2(
    name: str, marker: str, rules: Iterable[Rule], interpolation: str, second_marker: str = ".*"
) -> Kind:
    return Kind(
        f"DINOv2, {name} naming",
        marker,
        [*within("", "backbone", rules), _COUNTER],
        r"^$",
        second_marker=second_marker,
        position_interpolation=interpolation,
    )


def _dinov3(name: str, marker: str, rules: Iterable[Rule], second_marker: str) -> Kind:
    """A kind of DINOv3. timm leaves biases of query and value out where they are 0."""
    return Kind(
        f"DINOv3, {name} naming",
        marker,
        [*within("", "backbone", rules), _COUNTER],
        r"params/backbone/block\d+/attn/query_value_bias" if name == "timm" else r"^$",
        second_marker=second_marker,
    )


def _depth_anything(
    name: str, marker: str, rules: list[Rule], interpolation: str, backbone: str
) -> Kind:
    return Kind(
        f"Depth Anything, {name} naming",
        marker,
        [*rules, _COUNTER],
        r"^$",
        position_interpolation=interpolation,
        backbone=backbone,
    )


_IN_LAYERS = r"layers\.\d+\.blocks\.\d+\.attn"
_IN_STAGES = r"stages\.\d+\.blocks\.\d+\.attn\.w_msa"
_IN_FEATURES = r"features\.\d+\.\d+\.attn"
_IN_ENCODER = r"encoder\.layers\.\d+\.blocks\.\d+\.attention"
# Of the classes in transformers, only SwinBackbone always shifts; only it has these norms.
_BACKBONE_NORMS = r"hidden_states_norms\..*"
# Since timm 0.9 `downsample` belongs to the stage that follows it, so that stage 3 has one.
_LATE_DOWNSAMPLE = r"layers\.3\.downsample\..*"
# Of ViTs, layer scales have these names in DINOv2 alone, as far as the position tables agree.
_LAYER_SCALE = r"blocks\.(?:\d+\.)?\d+\.ls1\.gamma"
_HUGGING_FACE_SCALE = r"encoder\.layer\.\d+\.layer_scale1\.lambda1"
_DINOV3_SCALE = r"layer\.\d+\.layer_scale1\.lambda1"
_HUGGING_FACE_REGISTERS = r"embeddings\.register_tokens"

KINDS = (
    _released("Swin", r"stages\.0\.blocks\.0\..*", SWIN_MM, "always"),
    _released("ResNet", r"layers\.0\.0\..*", rules_backbones.RESNET_RULES),
    _released("MPViT", r"mhca_stages\..*", rules_backbones.MPVIT_RULES),
    _swin("mmseg", _IN_STAGES, SWIN_MM, "always"),
    _swin("Hugging Face backbone", _IN_ENCODER, SWIN_HUGGING_FACE, "always", _BACKBONE_NORMS),
    _swin("Hugging Face", _IN_ENCODER, SWIN_HUGGING_FACE, "larger_maps"),
    _swin("timm (from 0.9)", _IN_LAYERS, SWIN_TIMM, "larger_axes", _LATE_DOWNSAMPLE),
    _swin("torchvision", _IN_FEATURES, SWIN_TORCHVISION, "larger_axes"),
    _swin("official", _IN_LAYERS, SWIN_OFFICIAL, "larger_maps"),
    _depth_anything(
        "official",
        r"depth_head\.scratch\.refinenet1\..*",
        DEPTH_ANYTHING_OFFICIAL,
        "scale_offset",
        r"pretrained\..*",
    ),
    _depth_anything(
        "Hugging Face",
        r"neck\.fusion_stage\..*",
        DEPTH_ANYTHING_HUGGING_FACE,
        "size",
        r"(?!neck\.|head\.).*",
    ),
    _dinov3("official", "storage_tokens", DINOV3_OFFICIAL, _LAYER_SCALE),
    _dinov3("Hugging Face", _DINOV3_SCALE, DINOV3_HUGGING_FACE, _HUGGING_FACE_REGISTERS),
    _dinov3("timm", r"blocks\.\d+\.gamma_1", DINOV3_TIMM, "reg_token"),
    _dinov2(
        "Hugging Face (registers)",
        _HUGGING_FACE_REGISTERS,
        DINOV2_HUGGING_FACE,
        "size_antialiased",
        _HUGGING_FACE_SCALE,
    ),
    _dinov2("Hugging Face", _HUGGING_FACE_SCALE, DINOV2_HUGGING_FACE, "size"),
    _dinov2(
        "official (registers)", "register_tokens", DINOV2_OFFICIAL, "size_antialiased", _LAYER_SCALE
    ),
    _dinov2("official", "mask_token", DINOV2_OFFICIAL, "scale_offset", _LAYER_SCALE),
    _dinov2(
        "timm (registers)", "reg_token", DINOV2_TIMM_REGISTERS, "size_antialiased", _LAYER_SCALE
    ),
    # timm drops the mask token; all other names are the authors'.
    _dinov2("timm", _LAYER_SCALE, DINOV2_OFFICIAL, "size_antialiased"),
    Kind(
        "EfficientNet-Lite",
        r"_blocks\.\d+\._depthwise_conv\.weight",
        [*within("", "backbone", EFFICIENTNET_LITE), _COUNTER],
        r"^$",
    ),
)


def recognise(tensors: Tensors) -> Kind | None:
    """Returns the first kind that has its markers among the tensors' names."""

    def found(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in tensors)

    return next((k for k in KINDS if found(k.marker) and found(k.second_marker)), None)
