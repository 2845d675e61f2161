"""The ``iron-runtime`` command: the same Rust code as the stand-alone binary."""

import signal
import sys

from iron_runtime._core import _run_command


def main() -> int:
    """Run the command with the arguments of this process and return its exit code."""
    # Ctrl-C is for the command, as it would be without Python around it; a shell that had it ignored is still obeyed.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
