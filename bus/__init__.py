"""How words travel: wire, endpoints, link, control lane, broker, recording."""
