"""Necks: each joins a backbone's feature maps into a pyramid, finest first."""
