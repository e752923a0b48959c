"""Every kind of bad history by its name, with the checkers that must see it."""

from __future__ import annotations

from tests.checkers import forged_answers, forged_commits
from tests.checkers.forging import LINEARIZABILITY, ORDER, Forgery

FORGERIES: dict[str, Forgery] = {**forged_commits.KINDS, **forged_answers.KINDS}

__all__ = ["FORGERIES", "LINEARIZABILITY", "ORDER", "Forgery"]
