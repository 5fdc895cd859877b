"""What a router asks of a replica, besides its metrics, its models and its health."""
