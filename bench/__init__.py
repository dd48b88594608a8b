"""Benchmarks: each prints ours, a yardstick and the ratio, from one run. They are no tests and have no limits."""
