"""Devices and threads, resolved without importing torch: `plan` and a cached run need to know them at once."""

import ctypes
import os
import platform
import re
from importlib.util import find_spec
from pathlib import Path

#: How a device may be named.
DEVICE = r"auto|cpu|cuda(:\d{1,3})?|mps"

_CUDA_LIBRARIES = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}


def resolve_device(wanted: str) -> str:
    """The device that `training.device` stands for on this machine: "cpu", "mps" or "cuda:N".

    Args:
        wanted: auto (cuda, else mps, else cpu), cpu, mps, cuda or cuda:N.

    Raises:
        ValueError: it is no device, or not there.
    """
    if not re.fullmatch(DEVICE, wanted):
        raise ValueError(f"{wanted!r} is no device: choose auto, cpu, cuda, cuda:N or mps")
    if wanted == "cpu":
        return wanted
    if wanted == "auto":
        return _best_device()
    if wanted == "mps":
        if has_mps():
            return wanted
        raise ValueError(_refusal(wanted, "this machine is no Mac with Apple silicon"))
    index = int(wanted.partition(":")[2] or 0)
    if index < (count := cuda_device_count()):
        return f"cuda:{index}"
    raise ValueError(_refusal(wanted, _why_not_cuda(count)))


def fallback_notice(wanted: str, resolved: str) -> str | None:
    """A sentence for the log and the manifest when auto ended on the CPU, and why; None otherwise."""
    if (wanted, resolved) != ("auto", "cpu"):
        return None
    return f"training.device is auto and fell back to the CPU: {_why_not_cuda(cuda_device_count())}"


def thread_count(wanted: int | None) -> int:
    """CPU threads of torch: `training.threads`, else OMP_NUM_THREADS if it is a whole number, else all usable cores."""
    if wanted is not None:
        return wanted
    from_environment = os.environ.get("OMP_NUM_THREADS", "").strip()
    if re.fullmatch(r"0*[1-9][0-9]{0,3}", from_environment):
        return int(from_environment)
    return _usable_cores()


def cuda_device_count() -> int:
    """CUDA devices that the installed torch can use; 0 when it is no CUDA build or there is no working driver."""
    return _driver_device_count() if _torch_has_cuda() else 0


def has_mps() -> bool:
    """Whether torch's Metal backend can be expected: Apple silicon under macOS."""
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")


def _best_device() -> str:
    if cuda_device_count():
        return "cuda:0"
    return "mps" if has_mps() else "cpu"


def _torch_has_cuda() -> bool:
    """Whether torch's version.py, read as text, names a CUDA version, as in `cuda: Optional[str] = '12.6'`."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and bool(re.search(r"^cuda\b[^=\n]*=\s*['\"]", version.read_text("utf-8"), re.MULTILINE))


def _driver_device_count() -> int:
    """Devices that the driver reports, which leaves out those that CUDA_VISIBLE_DEVICES hides."""
    library = _CUDA_LIBRARIES.get(platform.system())
    if library is None:
        return 0
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine's in a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _why_not_cuda(count: int) -> str:
    if not _torch_has_cuda():
        return "the installed torch is built without CUDA"
    if count == 0:
        return "the CUDA driver reports no device"
    return (
        f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}"
        if count > 1
        else "there is one CUDA device, cuda:0"
    )


def _refusal(wanted: str, reason: str) -> str:
    return f"device {wanted!r} is not there, since {reason}: use auto or cpu"
