"""repofs: a mounted image repository for microscopy that imports what is copied into it."""

__version__ = "0.1.0"
