"""Limits on names and numbers, the same for those that a user gives and for those that are read from a file.

In a module of their own, because `tasks.learning` and `tasks.caching` both need them and do not import each other.
"""


def slug(longest: int) -> str:
    """The pattern of a name that is valid on every file system and has no meaning in a path, a shell or a terminal.

    Args:
        longest: the most characters that it may have.
    """
    return rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{longest - 1}}}"


#: The name of an experiment or a stage.
NAME = slug(64)

#: The name of a run: its experiment, the moment, and a number if several runs share it.
RUN = slug(128)

#: The name of any file or folder in the store.
FILE = slug(200)

#: The file name of a checkpoint.
CHECKPOINT = slug(96) + r"\.pth"

#: CPU threads of torch, which starts all of them at once: 1,024 take 4 s, and with a million the process crashes.
MOST_THREADS = 1024
