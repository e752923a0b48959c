import json
import os
import subprocess
import sys

import msgspec
import pytest
from statehouse_cluster.files import RealFiles
from statehouse_cluster.identity import (
    DataDirectory,
    DirectoryInUse,
    Identity,
    IdentityDamaged,
    IdentityRefused,
    check_name,
    new_identity,
)
from statehouse_cluster.interfaces import Member


class FailingFiles(RealFiles):
    """Stops the node, as a crash would, before the given operation."""

    def __init__(self, operation):
        self.operation = operation

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "operation"):
            raise OSError(5, f"crash before {name}")
        return object.__getattribute__(self, name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "data"


@pytest.fixture
def directory(path):
    directory = DataDirectory.open(path)
    yield directory
    directory.close()


def test_a_new_directory_gets_a_random_uuid_once(directory):
    assert directory.load() is None
    identity = directory.identify("n1")
    assert directory.identify("n1") == directory.load() == identity
    assert (identity.name, identity.cluster_id, identity.removed) == ("n1", "", False)
    assert new_identity("n1").uuid != identity.uuid
    assert len(identity.uuid) == 32


def test_what_is_stored_comes_back(directory):
    members = (Member("n1", "u1", "h:1", "h:2"), Member("n2", "u2", "", ""))
    identity = Identity(name="n1", uuid="u1", cluster_id="c", bound_members=members, removed=True)
    directory.store(identity)
    assert directory.load() == identity


def test_the_layout_is_there(directory, path):
    parts = [directory.journal, directory.state, directory.incoming, directory.outgoing]
    assert all(part.is_dir() and part.parent == path for part in parts)


def test_a_directory_of_another_node_is_refused(directory):
    directory.identify("n1")
    with pytest.raises(IdentityRefused, match="belongs to node 'n1', not 'n2'"):
        directory.identify("n2")


def load_or_refuse(directory):
    try:
        return directory.load()
    except IdentityRefused:
        return "refused"


def test_every_flipped_bit_is_refused_or_leaves_the_identity_as_it_was(directory, path):
    identity = directory.identify("n1")
    file = path / "identity.json"
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 3, 5):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            assert load_or_refuse(directory) in (identity, "refused")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5000, b'{"format_version": 1}'],
)
def test_damage_is_refused_and_names_the_file(directory, path, content):
    (path / "identity.json").write_bytes(content)
    with pytest.raises(IdentityDamaged, match=r"identity\.json: .*remove this member"):
        directory.load()


def test_a_changed_field_with_the_old_checksum_is_damage(directory, path):
    directory.identify("n1")
    stored = json.loads((path / "identity.json").read_bytes())
    stored["identity"]["uuid"] = "f" * 32
    (path / "identity.json").write_text(json.dumps(stored))
    with pytest.raises(IdentityDamaged, match="checksum"):
        directory.load()


def test_another_format_version_is_refused_in_words(directory, path):
    (path / "identity.json").write_text('{"format_version": 2, "more": true}')
    with pytest.raises(IdentityRefused, match="format version 2, this release reads 1"):
        directory.load()


def test_an_identity_that_is_gone_while_data_is_there_is_damage(directory, path):
    directory.identify("n1")
    (path / "identity.json").unlink()
    assert directory.load() is None
    (directory.journal / "1.segment").write_bytes(b"promises")
    with pytest.raises(IdentityDamaged, match="is missing"):
        directory.identify("n1")


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_crash_while_storing_leaves_the_old_or_the_new_identity(path, operation):
    before = DataDirectory.open(path)
    old = before.identify("n1")
    new = msgspec.structs.replace(old, cluster_id="c1")
    before._files = FailingFiles(operation)
    with pytest.raises(OSError, match="crash before"):
        before.store(new)
    before.close()
    after = DataDirectory.open(path)
    assert after.load() == (new if operation == "sync_directory" else old)
    after.close()


def test_a_second_use_of_the_directory_is_refused_in_words(directory, path):
    with pytest.raises(DirectoryInUse, match=f"{path} is in use by process {os.getpid()}"):
        DataDirectory.open(path)
    directory.identify("n1")


def test_another_process_is_refused_too_and_the_lock_ends_with_its_holder(directory, path):
    program = (
        "import sys, pathlib\n"
        "from statehouse_cluster.identity import DataDirectory, DirectoryInUse\n"
        "try:\n"
        "    DataDirectory.open(pathlib.Path(sys.argv[1]))\n"
        "except DirectoryInUse as refusal:\n"
        "    sys.exit(str(refusal))\n"
    )
    run = [sys.executable, "-c", program, str(path)]
    refused = subprocess.run(run, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 1
    assert f"in use by process {os.getpid()}" in refused.stderr
    directory.close()
    directory.close()
    assert subprocess.run(run, timeout=30, check=False).returncode == 0
    DataDirectory.open(path).close()


@pytest.mark.parametrize("name", ["n1", "a", "node-1.zone_b", "0", "x" * 63])
def test_names_of_nodes(name):
    check_name(name)
    assert new_identity(name).name == name


@pytest.mark.parametrize("name", ["", "-a", ".", "..", "a/b", "a b", "é", "x" * 64, "n1\n", "a=b"])
def test_what_is_no_name_of_a_node_is_refused_before_anything_is_stored(directory, name):
    with pytest.raises(ValueError, match="no node name"):
        directory.identify(name)
    assert directory.load() is None
