"""KITTI depth: one module for each form in which it is published."""
