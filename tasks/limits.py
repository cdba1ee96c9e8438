"""What names and numbers may be, whoever gives them: a person, or a file that somebody else made.

Here, apart from the code that learns and from the cache, which do not import each other, and both of which hold what
they read to it. Imports nothing: `plan` passes here.
"""


def slug(longest: int) -> str:
    """The pattern of a name that is one on every file system, and means nothing to a path, a shell or a terminal.

    Args:
        longest: letters that it may have.
    """
    return rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{longest - 1}}}"


#: The name of an experiment, and of a stage.
NAME = slug(64)

#: The name of a run: its experiment, the moment, and a number where that is taken.
RUN = slug(128)

#: The name of any file or folder in the store.
FILE = slug(200)

#: The file name of a checkpoint.
CHECKPOINT = slug(96) + r"\.pth"

#: CPU threads of torch. It starts them all at once, which takes 4 s for 1,024 of them, and crashes at a million.
MOST_THREADS = 1024
