"""How fast the service is, measured on this machine: `python -m benchmarks`."""
