"""Multimodal LLMs: a vision encoder, a projector and a causal language model, as one model that answers about images."""
