"""What runs: one module a flow, and the command line."""

import signal
import sys

#: What the name of a program ends with that is a command of ours: the script `workflow`, or Python with `-m`, as long
#: as it looks for the module.
COMMANDS = ("/workflow", "-m")

# Until a command has its own handlers, Ctrl-C ends it without a traceback. If another program imports this package, it
# is none of ours to say what Ctrl-C does.
if sys.argv and sys.argv[0].endswith(COMMANDS) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from tasks.caching.code.sources import install  # noqa: E402 (which takes a few milliseconds)

install()
