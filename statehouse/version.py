"""Owns what this build calls itself; the version is the installed package's."""

from __future__ import annotations

import os
from functools import cache
from importlib import metadata

DISTRIBUTION = "statehouse-cluster"


@cache
def version() -> str:
    """The installed version, or "0+checkout" when run from a checkout that is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+checkout"


@cache
def git_sha() -> str:
    """The commit this build was made from: set as GIT_SHA by whoever builds, else "unknown"."""
    return os.environ.get("GIT_SHA", "").strip() or "unknown"
