"""Servers that speak a provider's protocol, honestly, and fail as real ones do."""
