"""Captions: from what a model says to scores of it."""
