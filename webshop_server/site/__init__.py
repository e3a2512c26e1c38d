"""The shop as a web site: pages for people and clients of the original, and an interface for agents."""
