"""Image encoders: each turns an image into feature maps, finest first."""
