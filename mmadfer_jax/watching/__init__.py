"""Watching a video: from any file and a model to a timeline, in one pass."""
