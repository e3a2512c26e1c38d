"""The version, read by the build and by the package alike."""

__version__ = "0.2.0"
