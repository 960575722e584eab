"""The duplex benchmark: trials with a known onset go to the real fleet, scores of what sounded come out."""
