"""Timelines: what a model says of each person in a video, window by window."""
