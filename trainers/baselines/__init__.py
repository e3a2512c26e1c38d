"""Baselines: what an instance or a state is worth to the policy as it is now."""
