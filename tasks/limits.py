"""Limits on names and numbers, the same for those that a user gives and for those that are read from a file.

In a module of their own, because `tasks.learning` and `tasks.caching` both need them and do not import each other.
"""

#: The name of an experiment or a stage: valid on every file system, without a meaning in a path, a shell or a terminal.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

#: The name of a run: its experiment, the moment, and a number if several runs share it.
RUN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

#: The name of any file or folder in the store.
FILE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"

#: The file name of a checkpoint.
CHECKPOINT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}\.pth"

#: CPU threads of torch, which starts all of them at once: 1,024 take 4 s, and with a million the process crashes.
MOST_THREADS = 1024
