"""Patches: what each says, looks like and looks at."""
