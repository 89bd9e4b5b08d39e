"""What a network is for, at run time: a folder for each task."""
