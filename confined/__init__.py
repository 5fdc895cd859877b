"""Child processes with limits: they work on data that nobody has checked yet."""
