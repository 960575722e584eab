"""Chaos: faults, seeded, against the real fleet under supervisord while real speech goes through it."""
