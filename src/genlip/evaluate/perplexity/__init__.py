"""Perplexity of the answers of a multimodal LLM, and the controls that show whether it reads the image."""
