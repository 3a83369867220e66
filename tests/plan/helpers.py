"""A run of the paper's first stage, for plans."""

from genlip.recipes.recipe import load_recipe

STAGE1 = {
    "model.hidden_size": 1024,
    "model.intermediate_size": 2816,
    "model.num_hidden_layers": 24,
    "model.num_attention_heads": 16,
    "model.vocab_size": 151_936,
    "model.text_embed_dim": 1024,
    "model.mrope_section": "[8, 12, 12]",
    "images.size": 224,
    "packing.max_tokens": 16_384,
    "packing.batch": "31640 samples of 270 tokens",
    "optimizer.kind": "adamw",
    "data.workers": 12,
    "steps": 0,
    "samples": 8_000_000_000,
    "parallel": "auto",
    "activation_checkpointing": True,
    "precision": "auto",
}


def run(**changes):
    settings = STAGE1 | {key.replace("__", "."): value for key, value in changes.items()}
    return load_recipe("quickstart", [word for key, value in settings.items() for word in (f"--{key}", str(value))])
