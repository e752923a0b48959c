"""Makes the example's modules importable as they are when it runs: from its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "agent_research"

sys.path.insert(0, str(EXAMPLE))
