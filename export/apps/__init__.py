"""Folders that a developer copies into an app: Android, iOS, web."""
