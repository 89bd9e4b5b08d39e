"""How long models take, and how near that is to what the machine can do."""
