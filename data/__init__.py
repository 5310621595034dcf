"""Offline preparation: raw downloads in, records out. numpy only, never jax."""
