"""Measurements of keras_sd beside its peers, each in a process of its own (`keras-sd bench`).

The workers load this package by its path, without keras_sd (see `worker.py`): it imports no framework.
"""
