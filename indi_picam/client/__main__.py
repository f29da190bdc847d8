"""`picam`: reads the command line, runs the subcommand, exits with the status of its outcome."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from indi_picam.client import options
from indi_picam.client.failure import Exit, Failure

DEFAULT_PORT = 7624


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
    arguments = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except Failure as failure:
        print(f"picam: {failure}", file=sys.stderr)
        return failure.exit_status
    except KeyboardInterrupt:
        print("picam: stopped. Frames saved until now stay.", file=sys.stderr)
        return Exit.INTERRUPTED
    return Exit.OK


def _parser() -> argparse.ArgumentParser:
    statuses = ", ".join(f"{status.value} {status.name.lower()}" for status in Exit)
    parser = argparse.ArgumentParser(
        prog="picam",
        description="Pictures from a camera behind an INDI server.",
        epilog=f"Exit status: {statuses.replace('_', ' ')}.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_capture(commands.add_parser)
    return parser


def _add_capture(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "capture",
        help="take frames and save them as FITS files",
        description="Takes N equal frames into FITS files named by number and UTC time.",
        epilog=_options_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_camera_arguments(command)
    command.add_argument(
        "-n",
        dest="base",
        metavar="NAME",
        type=_base,
        default="astroimage",
        help="first part of the file names (%(default)s)",
    )
    command.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where the files go (the current directory)",
    )
    command.add_argument(
        "-c",
        dest="wish",
        metavar="OPTIONS",
        required=True,
        help="name=value,name=value,... as listed below",
    )
    command.add_argument("count", metavar="N", type=_count, help="how many frames")
    command.set_defaults(run=_capture)


def _add_camera_arguments(command: argparse.ArgumentParser) -> None:
    """What every subcommand that talks to a camera takes."""
    command.add_argument(
        "-H",
        dest="server",
        metavar="HOST[:PORT]",
        type=_server,
        default=("localhost", DEFAULT_PORT),
        help=f"the INDI server (localhost:{DEFAULT_PORT})",
    )
    command.add_argument("--device", metavar="NAME", help="the camera, where there are several")


def _options_help() -> str:
    working = "\n".join(f"  {name:<10}  {meaning}" for name, meaning in options.WORKING.items())
    idle = textwrap.indent(textwrap.fill(", ".join(options.WITHOUT_EFFECT), 72), "    ")
    return (
        f"OPTIONS:\n{working}\n"
        f"  accepted from raspistill, without effect on raw frames:\n{idle}\n\n"
        "example: picam capture -H pi.local -c shutter=10,ISO=800,mode=4056x3040:12 5"
    )


def _capture(arguments: argparse.Namespace) -> None:
    wish = options.parse(arguments.wish)
    try:
        from indi_picam.client import capture
    except ImportError as error:
        raise Failure(
            Exit.USAGE,
            f"{error.name} is missing. picam needs pyindi-client and rich: "
            "pip install 'indi_picam[client]'",
        ) from error
    host, port = arguments.server
    capture.run(
        capture.Order(
            host, port, arguments.device, wish, arguments.count, arguments.base, arguments.output
        )
    )


def _server(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?", text)
    if match is None or not 0 < int(match[3] or DEFAULT_PORT) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST or HOST:PORT")
    return match[1] or match[2], int(match[3] or DEFAULT_PORT)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames, 1 or more")
    return int(text)


def _base(text: str) -> str:
    if not text or "/" in text or "\0" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot begin a file name; the directory goes to -o"
        )
    return text


if __name__ == "__main__":
    main()
