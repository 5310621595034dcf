"""What a model would take, told from its fields: a file of a stranger may ask for terabytes."""

from diffdepth_jax.configuration.model import Frame, Model
from diffdepth_jax.configuration.values import require

MAX_PARAMETERS = 2 * 10**9  # beside those of a backbone, which is one of a list
MAX_ACTIVATIONS = 2**36  # bytes
# Of a backbone's maps together; and twice the largest of a HAHI, which its backbone alone sizes.
_CHANNELS, _HAHI = 3000, 10**8


def check_size(model: Model, frame: Frame) -> None:
    """Raises a UserError if a model is beyond any use, before anything of it is built."""
    rule = f"at most {MAX_PARAMETERS:.2g}: lower neck_features, denoiser_features or the like"
    count = num_parameters(model)
    require(count <= MAX_PARAMETERS, "parameters of the fields of model, about", count, rule)
    rule = f"at most {MAX_ACTIVATIONS / 2**30:.0f}: lower frame.size, or widths in model"
    gib = activations(model, frame) / 2**30
    valid = gib <= MAX_ACTIVATIONS / 2**30
    require(valid, "GiB for one image of frame.size, about", round(gib), rule)


def num_parameters(model: Model) -> int:
    """At least the number of parameters beside the backbone's, and of that order."""
    neck, head, latent = model.neck_features, model.denoiser_features, model.latent_channels
    width, detail = model.decoder_width, model.detail_features
    inputs = _CHANNELS + 30 * detail
    parts = {
        "neck": 9 * inputs * neck + (170 if model.neck == "dpt" else 15) * neck**2,
        "hahi": _HAHI * (model.neck == "released_hahi"),
        "head": (12 * model.denoiser_blocks + 20) * head**2 + (4 * neck + 20 * latent) * head,
        "stem": 9 * (3 + 2 * detail) * head,
        "released": 40 * neck**2 + 1500 * neck + 600 * latent,
        "codec": 40 * latent**2 + width * latent + 5 * width**2 + 9 * width * (detail + 3),
        "detail": 3500 * detail**2 + 100 * detail,
    }
    return sum(parts.values())


def activations(model: Model, frame: Frame) -> int:
    """Bytes that a pass over one image of `frame.size` takes, roughly, in float32."""
    height, width = frame.size
    pixels = height * width
    full = 3 + 2 * model.decoder_width + 4 * model.detail_features
    half = 3 * model.latent_channels + 6 * model.denoiser_features
    quarter = 4 * model.neck_features + _CHANNELS // 4
    # Self-attention between the cells of a denoiser, and between the patches of a DINOv2.
    scores = model.denoiser_heads * (pixels // 256) ** 2 + 6 * (pixels // 196) ** 2
    return 4 * (pixels * full + pixels * half // 4 + pixels * quarter // 16 + scores)
