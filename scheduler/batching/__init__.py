"""What a step costs, and how its rows are cut into batches. Pure."""
