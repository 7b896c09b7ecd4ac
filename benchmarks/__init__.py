"""How fast the mount is: `benchmarks/run`. docs/benchmarks.md tells what is measured."""
