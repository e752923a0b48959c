from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from statehouse import config
from statehouse.config import ConfigError, NodeConfig, load

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def loaded(flags=None, environment=None, file=None) -> NodeConfig:
    return load(flags or {}, environment or {}, file).config


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(text, "utf-8")
    return file


def test_with_nothing_said_a_node_is_alone_on_loopback():
    settings = loaded()
    assert settings == NodeConfig()
    assert settings.alone
    assert settings.peer_address == ""
    assert settings.listen == "127.0.0.1:50051"


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path):
    file = written(tmp_path, 'name = "file"\nlisten = "127.0.0.1:1"\ndata_dir = "f"\n')
    environment = {"STATEHOUSE_NAME": "env", "STATEHOUSE_ADDR": "127.0.0.1:2"}
    effective = load({"name": "flag"}, environment, file)
    assert effective.config.name == "flag"
    assert effective.config.listen == "127.0.0.1:2"
    assert effective.config.data_dir == Path("f")
    assert effective.config.log_level == "info"
    assert effective.sources["name"] == "flag --name"
    assert effective.sources["listen"] == "environment variable STATEHOUSE_ADDR"
    assert effective.sources["data_dir"] == f"file {file}"
    assert effective.sources["log_level"] == "default"


def test_an_empty_variable_counts_as_not_set():
    assert loaded(environment={"STATEHOUSE_NAME": "", "STATEHOUSE_USE_MEMORY": ""}) == NodeConfig()


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "FALSE", " Off "])
def test_a_switch_can_be_said_to_be_off(text):
    assert not loaded(environment={"STATEHOUSE_USE_MEMORY": text}).use_memory


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "True"])
def test_a_switch_can_be_said_to_be_on(text):
    assert loaded(environment={"STATEHOUSE_USE_MEMORY": text}).use_memory


def test_peers_are_read_from_text_and_from_a_table(tmp_path):
    file = written(tmp_path, '[peers]\nn1 = "127.0.0.1:1"\nn2 = "127.0.0.1:2"\n')
    peers = {"n1": "127.0.0.1:1", "n2": "127.0.0.1:2"}
    assert loaded(file=file).peers == peers
    assert loaded({"peers": " n1=127.0.0.1:1 , n2 = 127.0.0.1:2,"}).peers == peers


def test_a_member_listens_for_its_peers_where_the_list_says():
    settings = loaded({"name": "n2", "peers": "n1=127.0.0.1:1,n2=127.0.0.1:2"})
    assert settings.peer_address == "127.0.0.1:2"
    assert not settings.alone


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"listen": "nowhere"}, "listen"),
        ({"listen": "0.0.0.0:50051"}, "listen"),
        ({"listen": "example.org:50051"}, "listen"),
        ({"peer_listen": "10.0.0.1:50051"}, "peer_listen"),
        ({"peer_listen": "127.0.0.1:0"}, "peer_listen"),
        ({"peers": "n1=10.0.0.1:50051"}, "peer_listen"),
        ({"peers": "n1"}, "peers"),
        ({"peers": "n1=127.0.0.1:1,n1=127.0.0.1:2"}, "peers"),
        ({"peers": "n1=127.0.0.1:1,n2=127.0.0.1:1"}, "peers"),
        ({"peers": "n2=127.0.0.1:1"}, "peers"),
        ({"join": True}, "peer_listen"),
        ({"join": True, "peers": "n1=127.0.0.1:1"}, "join"),
        ({"use_memory": True, "peers": "n1=127.0.0.1:1"}, "use_memory"),
        ({"use_memory": "perhaps"}, "use_memory"),
        ({"data_dir": ""}, "data_dir"),
        ({"log_level": "loud"}, "log_level"),
        ({"log_format": "xml"}, "log_format"),
        ({"advertise": "here"}, "advertise"),
        (
            {"insecure": True, "listen": "0.0.0.0:1", "peers": "n1=127.0.0.1:1"},
            "listen",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name_and_source(flags, names):
    with pytest.raises(ConfigError) as refused:
        loaded(flags)
    assert str(refused.value).startswith(names)
    assert "(" in str(refused.value)


def test_the_source_of_a_bad_value_is_told():
    with pytest.raises(ConfigError, match="environment variable STATEHOUSE_ADDR"):
        loaded(environment={"STATEHOUSE_ADDR": "x"})


def test_somebody_may_say_that_the_network_is_trusted():
    settings = loaded({"listen": "0.0.0.0:50051", "insecure": True})
    assert settings.listen == "0.0.0.0:50051"


@pytest.mark.parametrize(
    ("text", "words"),
    [("nmae = 1", "no setting"), ("name = ", "no TOML"), ("name = 5", "no text"), ("\xff", "TOML")],
)
def test_a_bad_file_is_refused_in_words(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        loaded(file=written(tmp_path, text))


def test_an_interval_is_read_from_anywhere_and_must_make_sense(tmp_path):
    assert loaded().compare_interval_s == 10
    assert loaded(flags={"compare_interval_s": "0.5"}).compare_interval_s == 0.5
    assert loaded(environment={"STATEHOUSE_COMPARE_INTERVAL": "0"}).compare_interval_s == 0
    assert loaded(file=written(tmp_path, "compare_interval_s = 3")).compare_interval_s == 3
    for impossible in ("soon", "-1", "0.01", "1e9", "nan"):
        with pytest.raises(ConfigError, match="compare_interval_s"):
            loaded(flags={"compare_interval_s": impossible})
    with pytest.raises(ConfigError, match="compare_interval_s"):
        loaded(file=written(tmp_path, "compare_interval_s = true"))


def test_a_file_that_is_not_there_is_refused_in_words(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        loaded(file=tmp_path / "none.toml")


def test_what_is_shown_means_the_same_when_read_back(tmp_path):
    flags = {"name": "n2", "peers": "n1=127.0.0.1:1,n2=127.0.0.1:2", "data_dir": 'a "b"\\c'}
    effective = load(flags, {}, None)
    shown = effective.shown()
    assert len(shown.splitlines()) == len(dataclasses.fields(NodeConfig))
    assert tomllib.loads(shown)["name"] == "n2"
    assert loaded(file=written(tmp_path, shown)) == effective.config


def test_the_page_lists_exactly_the_settings_with_their_flags_variables_and_defaults():
    page = PAGE.read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == config.page_rows()
