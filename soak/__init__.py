"""Proof under load: callers, faults, metrics, benchmarks."""
