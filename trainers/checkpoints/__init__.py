"""Checkpoints that are whole or absent, tensors in files, and fingerprints of weights."""
