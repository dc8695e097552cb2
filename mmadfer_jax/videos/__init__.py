"""Any video: from a file and a model to a timeline, in one pass."""
