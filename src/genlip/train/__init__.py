"""Training: from a `Run` to a folder with the trained model. `task.py` is what the engine needs to know of a model."""
