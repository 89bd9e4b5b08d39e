"""The steps of an export, from a checkpoint to the files of a bundle; run.py has them in their order."""
