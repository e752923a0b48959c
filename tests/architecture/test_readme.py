"""What README.md and the guides show works as shown, against a real cluster of three nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.helpers import markdown

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/tutorials/[0-9]*.md"))
PAGES = ("README.md", "docs/sdk.md", "docs/cli.md", *TUTORIALS)

# The addresses a reader's cluster has, as the pages write them, the longest first.
WRITTEN_ENDPOINTS = (
    "localhost:50051,localhost:50052,localhost:50053",
    "127.0.0.1:50051,127.0.0.1:50052,127.0.0.1:50053",
    "localhost:50051",
    "127.0.0.1:50051",
)


def snippets(page: str) -> list[markdown.Snippet]:
    return markdown.snippets(page, (ROOT / page).read_text("utf-8"))


WRITTEN = [page for page in PAGES if (ROOT / page).exists()]
NOT_RUN = [one for page in WRITTEN for one in snippets(page) if one.runs and one.not_run]


# A page may run a hundred programs, and a busy machine takes a second to start one.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WRITTEN)
def test_the_snippets_of_the_page_work(page, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("STATEHOUSE_URL", cluster.endpoints)
    # Pages use the same plain names for their agents: each gets a world of its own.
    monkeypatch.setenv("STATEHOUSE_NAMESPACE", f"page-{page}-{os.getpid()}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    ran = markdown.run(
        snippets(page),
        folder=tmp_path,
        environment=os.environ,
        replacements=dict.fromkeys(WRITTEN_ENDPOINTS, cluster.endpoints),
    )
    assert ran > 0, f"{page} shows nothing that runs"


@pytest.mark.parametrize("snippet", NOT_RUN, ids=lambda snippet: snippet.place)
def test_the_snippet_is_exempt_for_a_reason(snippet):
    pytest.skip(snippet.not_run)
