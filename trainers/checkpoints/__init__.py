"""Checkpoints that are whole or absent, tensors in files, and short names for sets of weights."""
