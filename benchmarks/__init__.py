"""How fast the mount is beside the bare directory under it: `python -m benchmarks [--quick] [--json FILE]`."""
