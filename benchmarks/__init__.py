"""Programs that measure PAI, each as `python -m benchmarks.<name> [--json]`; docs/benchmarks.md has what they gave."""
