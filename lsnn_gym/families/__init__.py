"""Families of experiments: what can be trained, each from settings to the pictures of a run."""
