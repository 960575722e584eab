"""Engines with large stacks, each tested in its own environment by `make test-engines`."""
