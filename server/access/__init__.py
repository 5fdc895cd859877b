"""Who may use the server, how much of it, and the record of who did."""
