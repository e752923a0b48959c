"""The seeds of tests/data/seeds.toml: each has found something once, and is run on every change."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).resolve().parents[1] / "data" / "seeds.toml"
FORMAT = 2
"""Of what a seed means; whoever changes that, so that old seeds are other runs, counts it up."""


@dataclass(frozen=True)
class KnownSeed:
    """A seed that finds `found` while the guard of `mutant` is out, or before `mended`."""

    number: int
    found: str
    mutant: str = ""
    mended: str = ""


def known_seeds() -> list[KnownSeed]:
    """All of them; ValueError when the file is for seeds of another meaning."""
    told = tomllib.loads(PATH.read_text())
    if told["format"] != FORMAT:
        raise ValueError(f"{PATH} is for seeds of format {told['format']}, this is {FORMAT}")
    return [KnownSeed(**seed) for seed in told["seed"]]


def seed_of(mutant: str) -> int:
    """Where to begin looking for a mutant; 0 for one that a script catches."""
    return next((seed.number for seed in known_seeds() if seed.mutant == mutant), 0)
