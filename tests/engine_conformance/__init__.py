"""What any engine is put through, ours or a stranger's: see `kit.py` for what it must bring along."""
