"""KITTI depth, from each form in which people have it."""
