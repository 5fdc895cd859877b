"""API keys, their rights and quotas, and the audit log."""
