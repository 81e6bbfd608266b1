"""Readers and writers of the file formats of published weights."""
