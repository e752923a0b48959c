"""Fuzzes one target with coverage guidance: ``python -m tests.fuzz.run TARGET SECONDS``.

Prints libFuzzer's own lines; exits 0 when nothing was found. A finding leaves the input beside the
report and can be run again by giving its path in place of the seconds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["statehouse", "statehouse_cluster", "statehouse_sdk"], enable_loader_override=False
):
    from tests.fuzz.targets import TARGETS, seeds

RSS_MIB_MAX = 1024
INPUT_S_MAX = 10
"""A hang, on a machine however busy; a slow decoder shows in the number of inputs."""
INPUT_BYTES_MAX = 65536


def main() -> None:
    name, how = sys.argv[1], sys.argv[2]
    target = TARGETS[name]
    if not how.isdigit():
        target(Path(how).read_bytes())
        return
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, seed in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        sys.argv[0],
        f"-max_total_time={how}",
        f"-rss_limit_mb={RSS_MIB_MAX}",
        f"-timeout={INPUT_S_MAX}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={corpus}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(options, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
