"""`picam`: reads the command line, runs the subcommand, exits with the status of its outcome."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from indi_picam.client.arguments import parser
from indi_picam.client.failure import Exit, Failure


def main() -> NoReturn:
    """Entry point of the command; ends the process.

    Without destructors, since pyindi-client's may wait for ever (see ``connection``).
    """
    status = run(sys.argv[1:])
    with suppress(OSError):  # whoever read our output may have gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run(words: Sequence[str]) -> int:
    """Does what a command line says; returns the exit status, or raises SystemExit (2)."""
    arguments = parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except Failure as failure:
        for line in str(failure).splitlines():
            print(f"picam: {line}", file=sys.stderr)
        return failure.exit_status
    except KeyboardInterrupt:
        print("picam: stopped.", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.OK  # whoever reads the output has seen enough
    except ImportError as error:
        print(
            f"picam: {error.name} is missing. picam needs pyindi-client and rich: "
            "pip install 'indi_picam[client]'",
            file=sys.stderr,
        )
        return Exit.USAGE
    return Exit.OK


if __name__ == "__main__":
    main()
