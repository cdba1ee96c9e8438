"""What a notebook needs: saved runs as pandas DataFrames, their models, and training on a DataFrame.

None of pandas, torch and Prefect is imported before a function needs it.
"""

from flows.notebook.opened_run import open_run
from flows.notebook.run_table import runs
from flows.notebook.training import train

__all__ = ["open_run", "runs", "train"]
