"""Baselines: the values of instances and states that returns are compared with."""
