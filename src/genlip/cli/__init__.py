"""The command line. One file a command; `main` runs them."""
