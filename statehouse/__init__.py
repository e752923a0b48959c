"""The public names of the Python client, and nothing of the node: importing this starts nothing."""

from __future__ import annotations

from statehouse_sdk import *  # noqa: F403  # the SDK's own sorted list is the public surface
from statehouse_sdk import __all__ as __all__
