"""Recipes that come with the package, one YAML file each."""

OWN_IMAGES = 'train quickstart --out runs/mine --data.source images/ --data.held_out "" --data.held_out_samples 100'
"""The arguments of `genlip` that train on one's own images, for all messages that recommend it; needs 200 images or more."""
