"""Metrics in a file, trackers, progress bars, and the table of the result."""
