"""Owns the one error by which a run of the bench ends without figures."""

from __future__ import annotations


class BenchFailed(Exception):
    """What could not be measured, and where to look."""
