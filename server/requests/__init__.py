"""Request bodies: how they are read, their fields, and the sequences that they ask for."""
