"""The method study: which part of the method earns its place, measured on rendered scenes."""
