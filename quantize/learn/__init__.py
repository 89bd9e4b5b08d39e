"""Ranges, gains and biases found on the torch network."""
