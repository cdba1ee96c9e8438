"""Flow `verify`: proves that a saved checkpoint predicts what training recorded.

None of its stages is cached: a verification runs every time.
"""

from collections.abc import Mapping
from typing import Any

from tasks.caching.stage import Run
from tasks.compare import compare
from tasks.predict import predict
from tasks.reload import reload


def pipeline(run: Run) -> Mapping[str, Any]:
    """Reload ──► predict ──► compare."""
    saved = run(reload)
    predicted = run(predict, saved)
    return run(compare, saved, predicted)


if __name__ == "__main__":
    import runpy
    import sys

    # By name, since the command line imports this module.
    sys.argv[1:1] = ["verify"]
    runpy.run_module("flows.cli", run_name="__main__")
