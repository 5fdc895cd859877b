"""How much memory a model takes, what fits a machine, and settings that fit."""
