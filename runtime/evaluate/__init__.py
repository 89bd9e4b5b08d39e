"""How good the artifacts of a bundle are on labelled images."""
