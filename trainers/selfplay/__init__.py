"""Self-play: instances that are proposed while a run learns, verified, played at once, and kept if they are new."""
