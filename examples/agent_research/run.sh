#!/usr/bin/env bash
# Runs the agent with the project's environment; a cluster must run (scripts/local_cluster.py start).
# Arguments go to agent.py; without any it asks for commands.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$here/../../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/agent.py" "$@"
