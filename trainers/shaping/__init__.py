"""Rewards shaped for learning, never for measuring: of episodes as they are played, and of what an objective reads."""
