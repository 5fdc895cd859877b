"""The texts of documents that clients send in requests."""
