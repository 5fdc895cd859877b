"""The settings, one file a heading of the help. A field gives key, type, default and bounds."""
