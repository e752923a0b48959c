"""The public v1 protocol, kept for its published client."""
