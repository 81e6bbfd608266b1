"""Helpers that all parts of the package may import."""
