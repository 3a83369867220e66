"""The model: GenLIP, its packs, its objective, its generation and its files."""
