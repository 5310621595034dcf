"""Reads PyTorch and safetensors files and converts their weights, without PyTorch."""
