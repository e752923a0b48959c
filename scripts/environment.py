"""Lets any Python start a script: that of .venv takes over if this one lacks the project."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"


def use_project_environment() -> None:
    """Starts the running script anew where the project is installed; returns if it is here."""
    if importlib.util.find_spec("rocksdict") is not None:
        return
    if not PYTHON.exists() or Path(sys.executable) == PYTHON:
        sys.exit(f"the project is not installed for {sys.executable}: run scripts/test once")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])
