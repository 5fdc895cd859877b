"""What is known of the served models besides their state, and who may change them."""
