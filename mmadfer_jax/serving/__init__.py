"""A page on which clips are chosen or recorded and answered for."""
