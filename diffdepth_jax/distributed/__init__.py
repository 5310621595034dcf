"""Several devices and processes as one."""
