"""A file for each command, imported when that command is typed (export/cli/app.py)."""
