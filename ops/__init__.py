"""Operating the fleet: the `bargein` command, the line that places calls, the demo."""
