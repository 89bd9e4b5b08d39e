"""torch -> model files. Stands on the ground (mvit2/) alone."""
