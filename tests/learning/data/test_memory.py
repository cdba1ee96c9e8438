import pytest

from tasks.learning.data import memory
from tasks.learning.data.memory import available_memory


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Has the system tell nothing; gives what has it tell something, by file."""
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    return lambda **texts: [(tmp_path / name.replace("_", ".")).write_text(text) for name, text in texts.items()]


def test_this_machine_has_some():
    assert available_memory() > 1 << 20


def test_unknown_without_any_source(reported):
    assert available_memory() is None
    reported(meminfo="MemTotal: 9 kB\n", memory_max="max\n", memory_current="5\n")
    assert available_memory() is None


@pytest.mark.parametrize(("limit", "available"), [("max", 3072), ("9000", 3072), ("2000", 1500), ("100", 0)])
def test_it_is_what_the_machine_and_the_container_leave(reported, limit, available):
    reported(meminfo="MemTotal: 9 kB\nMemAvailable:   3 kB\n", memory_max=f"{limit}\n", memory_current="500\n")
    assert available_memory() == available


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: many kB"])
def test_a_source_without_a_limit_is_skipped(reported, text):
    reported(meminfo=text, memory_max="200", memory_current="50")
    assert available_memory() == 150
