"""Programs that turn raw downloads of NYU Depth V2 and KITTI into records; they never use jax."""
