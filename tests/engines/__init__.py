"""Engines that make builds: `make test-engines`, not part of `make test`."""
