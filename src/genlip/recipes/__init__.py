"""Recipes that come with the package, one YAML file each."""

OWN_IMAGES = 'train quickstart --out runs/mine --data.source images/ --data.held_out "" --data.held_out_samples 100'
"""What follows `genlip` to train on one's own images, wherever we recommend it; it needs 200 of them or more."""
