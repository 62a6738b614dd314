"""Modules with weights to train: the shared head and its starting points."""
