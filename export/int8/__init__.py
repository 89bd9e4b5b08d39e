"""The conductor's part of quantisation: calibrate, write, run, compare with float."""
