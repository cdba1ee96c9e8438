import ctypes
import os
import platform
from importlib.machinery import ModuleSpec

import pytest
import torch

from tasks.learning.config import devices
from tasks.learning.config.devices import fallback_notice, resolve_device, thread_count


class Driver:
    """Stands in for libcuda."""

    def __init__(self, count, init=0):
        self.count, self.init = count, init

    def cuInit(self, flags):  # noqa: N802
        return self.init

    def cuDeviceGetCount(self, pointer):  # noqa: N802
        pointer._obj.value = self.count
        return 0


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets up a machine: the CUDA version that torch names, the driver's devices, and the system."""

    def set_up(cuda=None, driver=None, system=("Linux", "x86_64")):
        (tmp_path / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda!r}\nhip = '6.1'\n")
        spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(devices, "find_spec", lambda name: spec)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: driver if driver else missing(name))
        monkeypatch.setattr(platform, "system", lambda: system[0])
        monkeypatch.setattr(platform, "machine", lambda: system[1])

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    return set_up


def test_auto_is_cuda_if_there(machine):
    machine(cuda="12.6", driver=Driver(2))
    assert resolve_device("auto") == "cuda:0"
    assert fallback_notice("auto", "cuda:0") is None


def test_auto_is_mps_on_apple_silicon(machine):
    machine(system=("Darwin", "arm64"))
    assert resolve_device("auto") == "mps"
    assert fallback_notice("auto", "mps") is None


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"cuda": None, "driver": Driver(1)}, "the installed torch is built without CUDA"),
        ({"cuda": "12.6"}, "the CUDA driver reports no device"),
        ({"cuda": "12.6", "driver": Driver(0)}, "the CUDA driver reports no device"),
        ({"cuda": "12.6", "driver": Driver(1, init=100)}, "the CUDA driver reports no device"),
        ({"cuda": "12.6", "driver": Driver(1), "system": ("Darwin", "x86_64")}, "the CUDA driver reports no device"),
    ],
)
def test_auto_falls_back_to_the_cpu_and_says_why(machine, setting, reason):
    machine(**setting)
    assert resolve_device("auto") == "cpu"
    assert fallback_notice("auto", "cpu").endswith(f"fell back to the CPU: {reason}")


def test_the_cpu_is_no_fallback_when_asked_for(machine):
    machine()
    assert resolve_device("cpu") == "cpu"
    assert fallback_notice("cpu", "cpu") is None


@pytest.mark.parametrize(("wanted", "resolved"), [("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")])
def test_cuda_by_number(machine, wanted, resolved):
    machine(cuda="12.6", driver=Driver(2))
    assert resolve_device(wanted) == resolved


@pytest.mark.parametrize(
    ("setting", "wanted", "message"),
    [
        ({}, "cuda", "device 'cuda' is not there, since the installed torch is built without CUDA: use auto or cpu"),
        ({"cuda": "12.6"}, "cuda", "'cuda' is not there, since the CUDA driver reports no device"),
        (
            {"cuda": "12.6", "driver": Driver(1)},
            "cuda:3",
            "'cuda:3' is not there, since there is one CUDA device, cuda:0",
        ),
        ({"cuda": "12.6", "driver": Driver(2)}, "cuda:2", "there are 2 CUDA devices, cuda:0 to cuda:1"),
        ({}, "mps", "'mps' is not there, since this machine is no Mac with Apple silicon: use auto or cpu"),
        ({"system": ("Darwin", "x86_64")}, "mps", "no Mac with Apple silicon"),
    ],
)
def test_refuses_a_device_that_is_not_there(machine, setting, wanted, message):
    machine(**setting)
    with pytest.raises(ValueError, match=message):
        resolve_device(wanted)


def test_no_torch_is_no_cuda(machine, monkeypatch):
    machine(driver=Driver(1))
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert resolve_device("auto") == "cpu"


def test_agrees_with_the_torch_that_is_installed():
    assert devices.cuda_device_count() == torch.cuda.device_count()


def test_threads_as_configured(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count(5) == 5


def test_threads_from_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", " 3 ")
    assert thread_count(None) == 3


@pytest.mark.parametrize("value", ["", "0", "-2", "many", "2,4", "1.5"])
def test_threads_ignore_what_is_no_number_of_threads(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4}, raising=False)
    assert thread_count(None) == 5


def test_threads_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count(None) == 1


@pytest.mark.parametrize("wanted", ["", "nope", "cpu:0", "cuda:x", "cuda:", "CUDA", "cuda:0 "])
def test_what_is_no_device_is_not_taken_for_one(wanted):
    with pytest.raises(ValueError, match="is no device: choose auto, cpu, cuda, cuda:N or mps"):
        resolve_device(wanted)
