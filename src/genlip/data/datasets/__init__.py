"""Sets for evaluation: images of classes, and images with a class at each pixel."""
