"""Explorers of stage 1: who they are, what they play, and the processes that they play in."""
