#!/usr/bin/env python3
"""Makes the descriptor set and the type stubs of proto/ from the .proto files.

Run it after changing a .proto file and commit what it writes; CI runs it with --check, which writes
nothing and fails when the committed files differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "proto"


def generate(into: Path) -> list[Path]:
    """Writes the outputs below `into`, and returns their paths relative to it."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    package = into / "statehouse_proto"
    package.mkdir(parents=True, exist_ok=True)
    binary = package / "descriptors.binpb"
    # The plugin lies beside this interpreter, which need not be on PATH.
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    arguments = [f"--descriptor_set_out={binary}", f"--mypy_out={into}"]
    if plugin.exists():
        arguments.append(f"--plugin=protoc-gen-mypy={plugin}")
    paths = [f"--proto_path={ROOT}", f"--proto_path={_include()}"]
    if protoc.main(["protoc", *paths, *arguments, *sources]) != 0:
        raise SystemExit("protoc failed; its messages are above")
    files = descriptor_pb2.FileDescriptorSet.FromString(binary.read_bytes())
    binary.write_bytes(files.SerializeToString(deterministic=True))
    return sorted(path.relative_to(into) for path in into.rglob("*") if path.is_file())


def _include() -> str:
    import grpc_tools

    return str(Path(next(iter(grpc_tools.__path__))) / "_proto")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on drift")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        drifted = [
            (path, (Path(scratch) / path).read_bytes())
            for path in generate(Path(scratch))
            if not (ROOT / path).exists()
            or (ROOT / path).read_bytes() != (Path(scratch) / path).read_bytes()
        ]
    for path, content in drifted:
        if check:
            print(f"proto/{path} is not what its .proto file gives: run scripts/generate_proto.py")
        else:
            (ROOT / path).write_bytes(content)
            print(f"wrote proto/{path}")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
