"""Frozen features: kept on disk, and the heads that are trained on them."""
