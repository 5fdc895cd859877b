"""A router in front of several replicas that knows what each of them has cached."""
