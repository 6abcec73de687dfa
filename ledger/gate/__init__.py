"""A model-maker's gate: a corpus goes in, a verdict per file comes out; what cannot be checked is denied."""
