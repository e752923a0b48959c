"""What `import statehouse` offers changes only on purpose, is written up, and costs little."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import statehouse

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_name("public_surface.txt")


def test_the_public_names_are_sorted_and_as_stored():
    assert list(statehouse.__all__) == sorted(statehouse.__all__)
    assert list(statehouse.__all__) == STORED.read_text().split(), (
        "the public surface changed: if that is meant, write the names into public_surface.txt"
    )


def test_every_public_name_is_there():
    for name in statehouse.__all__:
        assert getattr(statehouse, name) is not None


def test_the_facade_holds_nothing_but_imports_of_the_sdk():
    tree = ast.parse((ROOT / "statehouse" / "__init__.py").read_text())
    for node in tree.body[1:]:
        match node:
            case ast.ImportFrom(module=str(module)):
                assert module.split(".")[0] in ("statehouse_sdk", "__future__")
            case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
                pass
            case _:
                raise AssertionError(f"line {node.lineno} does more than re-export the SDK")


def test_every_public_name_is_in_the_sdk_guide():
    guide = (ROOT / "docs" / "sdk.md").read_text("utf-8")
    missing = [name for name in statehouse.__all__ if not re.search(rf"\b{name}\b", guide)]
    assert missing == []


def test_importing_it_loads_nothing_of_the_node_and_no_command_line():
    code = (
        "import sys, statehouse; statehouse.Statehouse;"
        "print([name for name in ('rocksdict', 'pysyncobj', 'click', 'rich', 'statehouse.core',"
        " 'statehouse_cluster', 'statehouse_sdk.cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
