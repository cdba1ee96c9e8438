"""What makes torch compute other bytes from the same inputs: the CPU's instructions, and variables that select them.

Detected without torch, whose import takes a second that a plan does not have.
"""

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path

#: Environment variables that select how sums are computed: their order, instructions or precision.
CHOOSING = (
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "MKL_DYNAMIC",
    "OMP_DYNAMIC",
    "OMP_THREAD_LIMIT",
)

#: Environment variables that select how matplotlib's FreeType draws letters.
DRAWING = ("FREETYPE_PROPERTIES",)

#: Flags of an x86 processor, as Linux names them, that torch requires before it uses the kernels of that name; see
#: `compute_cpu_capability` in aten/src/ATen/native/DispatchStub.cpp.
X86 = {"AVX512": {"avx512vl", "avx512bw", "avx512dq", "fma"}, "AVX2": {"avx2", "fma"}}

#: Features of an ARM processor that it checks.
ARM = {"sve", "bf16"}


def computing(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What affects the results of torch besides its version, by name."""
    chosen = {name: environment[name] for name in CHOOSING if name in environment}
    return {"CPU capability": cpu_capability(environment.get("ATEN_CPU_CAPABILITY", "")), **chosen}


def drawing(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What affects plots besides the version of matplotlib, by name."""
    return {name: environment[name] for name in DRAWING if name in environment}


def cpu_capability(asked: str = "") -> str:
    """The kernels that torch selects: on x86 under Linux what `torch.backends.cpu.get_cpu_capability()` returns.

    Args:
        asked: the value of `ATEN_CPU_CAPABILITY`.
    """
    flags = processor_flags()
    machine = platform.machine()
    if machine not in ("x86_64", "AMD64"):
        return " ".join([machine, *sorted(flags & ARM), asked]).rstrip()
    if asked in ("default", "avx2", "avx512"):
        return asked.upper()
    return next((name for name, needed in X86.items() if needed <= flags), "DEFAULT")


@functools.cache
def processor_flags(description: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first processor, as Linux names them; empty on other systems."""
    try:
        lines = description.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(flags, []))
