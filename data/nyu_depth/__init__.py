"""NYU Depth V2: one module for each form in which it is published."""
