"""Configure and start runs, and read run folders, for the command line and for Python."""
