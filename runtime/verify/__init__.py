"""A bundle against its recorded answers."""
