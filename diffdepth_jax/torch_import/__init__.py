"""PyTorch and safetensors files read and converted, without PyTorch."""
