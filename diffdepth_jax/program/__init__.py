"""How the programs start, speak, end, and keep what they compiled."""
