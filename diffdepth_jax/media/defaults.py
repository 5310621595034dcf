"""What pictures and surfaces are like if nobody chooses; imports nothing, so that help is quick."""

COLORMAP = "viridis"  # near in yellow, far in violet
COLORMAPS = ("viridis", "inferno", "magma", "cividis", "turbo", "Spectral", "grey")  # to try
MAX_POINTS, MAX_TRIANGLES = 1_000_000, 100_000
DENOISING_STEPS = 10  # a denoising has so many steps at least to be seen
