"""Makes several devices and processes work as one."""
