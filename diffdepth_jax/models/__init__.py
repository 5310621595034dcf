"""The networks, as Linen modules on NHWC arrays."""
