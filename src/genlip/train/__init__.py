"""Training: a run in, a folder with a trained model out."""
