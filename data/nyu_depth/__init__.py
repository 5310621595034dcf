"""NYU Depth V2, from each form in which people have it."""
