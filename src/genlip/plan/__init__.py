"""Plans: what a run will take of memory and time on some hardware, before it is started."""
