"""How a run tells what it does: metrics in a file, progress to whoever listens."""
