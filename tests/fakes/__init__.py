"""Small honest servers that speak a provider's protocol, and can be told to misbehave."""
