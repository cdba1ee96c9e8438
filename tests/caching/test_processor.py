"""What torch computes with, found without torch."""

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tasks.caching import processor
from tasks.caching.processor import CHOOSING, computing, cpu_capability, drawing, processor_flags

NEWER = {"avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq"}


@pytest.mark.parametrize("asked", ["", "default", "avx2", "avx512", "AVX2", "nonsense"])
def test_it_is_what_torch_takes(start_python: Callable[..., Popen[str]], asked: str) -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    process = start_python(code, **({"ATEN_CPU_CAPABILITY": asked} if asked else {}))
    assert cpu_capability(asked) == process.communicate(timeout=60)[0].strip()


@pytest.mark.parametrize(
    ("flags", "capability"),
    [
        (NEWER, "AVX512"),
        (NEWER - {"fma"}, "DEFAULT"),
        (NEWER - {"avx512vl"}, "AVX2"),
        (NEWER - {"avx512bw"}, "AVX2"),
        (NEWER - {"avx512dq"}, "AVX2"),
        ({"avx2", "fma"}, "AVX2"),
        ({"avx2"}, "DEFAULT"),
        (set(), "DEFAULT"),
    ],
)
def test_it_goes_by_the_flags_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], capability: str
) -> None:
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset(flags))
    assert cpu_capability() == capability


def test_another_processor_is_reported_by_its_machine_and_what_torch_asks_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset({"fp", "sve", "bf16"}))
    assert cpu_capability() == "aarch64 bf16 sve"
    assert cpu_capability("default") == "aarch64 bf16 sve default"


def test_the_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: sse\n")
    assert processor_flags(tmp_path / "cpuinfo") == {"fpu", "avx2"}
    assert processor_flags(tmp_path / "absent") == frozenset()


def test_variables_that_choose_are_reported_where_they_are_set() -> None:
    assert computing({}).keys() == {"CPU capability"}
    for name in CHOOSING:
        assert computing({name: "1", "OTHER": "1"}) == {"CPU capability": cpu_capability(), name: "1"}
    assert drawing({"FREETYPE_PROPERTIES": "truetype:interpreter-version=35"}).keys() == {"FREETYPE_PROPERTIES"}
    assert drawing({"OTHER": "1"}) == {}
    assert computing()["CPU capability"] == cpu_capability(os.environ.get("ATEN_CPU_CAPABILITY", ""))
