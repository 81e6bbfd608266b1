"""Readers and writers of the formats that weights are published in."""
