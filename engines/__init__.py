"""Adapters to other people's models: one file an engine, one small Protocol a kind."""
