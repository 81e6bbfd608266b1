"""Measurements of keras_sd and baselines, each in its own process (`keras-sd bench`).

Workers load this package by path, without keras_sd (see `worker.py`): it imports no framework.
"""
