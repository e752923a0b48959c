"""The research agent of the first tutorial, killed at every line it executes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from statehouse import Statehouse
from tests.helpers import markdown

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/tutorials/1-resumable-agent.md"
STEPS = ["step/1-find", "step/2-read", "step/3-compare", "step/4-answer"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_line_and_run_again_it_does_each_step_once(cluster, agent_id, tmp_path):
    markdown.save(markdown.snippets(PAGE.name, PAGE.read_text("utf-8")), tmp_path)
    ended = subprocess.run(
        [sys.executable, str(HERE / "killed_everywhere.py"), "research.py", agent_id],
        cwd=tmp_path,
        env={**os.environ, "STATEHOUSE_URL": cluster.endpoints},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    killed = int(ended.stdout)
    assert killed >= 60, "it has a loop of four steps, and a call for each"
    with Statehouse(url=cluster.endpoints) as client:
        for number in range(1, killed + 2):
            namespace = f"{agent_id}-{number}"
            events = list(client.replay("researcher", namespace=namespace))
            assert [event.operations[0].key for event in events] == STEPS, namespace
            assert {event.operations[0].version for event in events} == {1}, namespace
            causes = [event.metadata.caused_by for event in events]
            assert causes == [(), *((event.commit_ts,) for event in events[:-1])], namespace
