"""The native protocol: state and cluster services."""
