"""How `engines/models/floor.npz` was made: phrases → voices → spectrograms → a network."""
