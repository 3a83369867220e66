"""Plans: the memory and time that a run will need on some hardware, computed before it starts."""
