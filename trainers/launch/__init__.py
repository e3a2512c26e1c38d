"""From what a user names to a run folder, and from a run folder to an agent: what the command line and Python share."""
