"""The built-in worlds, one a file."""
