"""The seven actors, each a process that meets the others only on the bus."""
