"""Checkpoints that are whole or absent, and tensors in files."""
