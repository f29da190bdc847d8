"""The command line of `picam`: its subcommands, their arguments, and what those become.

Nothing heavy is imported before a command line is known to be right.
"""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from indi_picam.client import options
from indi_picam.client.failure import Exit
from indi_picam.client.formats import Format
from indi_picam.client.heard import Server

DEFAULT_PORT = 7624
DEFAULT_SERVER = Server("localhost", DEFAULT_PORT)
AddParser = Callable[..., argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """Of the whole command; ``run`` of what it parses does the work."""
    statuses = ", ".join(f"{status.value} {status.name.lower()}" for status in Exit)
    whole = argparse.ArgumentParser(
        prog="picam",
        description="Pictures from a camera behind an INDI server.",
        epilog=f"Exit status: {statuses.replace('_', ' ')}.",
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    _add_capture(commands.add_parser)
    _add_query(commands.add_parser)
    _add_calibrate(commands.add_parser)
    _add_settings(commands.add_parser)
    _add_batches(commands.add_parser)
    return whole


# -- capture ---------------------------------------------------------------------------------------


def _add_capture(add_parser: AddParser) -> None:
    command = add_parser(
        "capture",
        help="take frames and save them",
        description="Takes N equal frames into files named by number and UTC time. Where the "
        "camera can, they are a batch: without a gap, and kept by the camera until they are here.",
        epilog=_options_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "-H",
        dest="servers",
        metavar="HOST[:PORT]",
        type=_server,
        action="append",
        help=f"the INDI server (localhost:{DEFAULT_PORT}); several: -H pi1 -H pi2, each into a "
        "directory named after it",
    )
    _add_device(command)
    command.add_argument(
        "-c", dest="wish", metavar="OPTIONS", help="name=value,... as listed below"
    )
    command.add_argument("count", metavar="N", type=_count, nargs="?", help="how many frames")
    command.add_argument(
        "-v", dest="is_verbose", action="store_true", help="tell of each file how big it is"
    )
    _add_files(command)
    _add_batch(command)
    command.set_defaults(run=lambda arguments: _capture(command, arguments))


def _add_files(command: argparse.ArgumentParser) -> None:
    files = command.add_argument_group("files")
    files.add_argument(
        "-n",
        dest="base",
        metavar="NAME",
        type=_base,
        default="astroimage",
        help="first part of the file names (%(default)s)",
    )
    files.add_argument(
        "-d",
        "--directory",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="where the files go (the current directory)",
    )
    files.add_argument(
        "-o",
        dest="format",
        metavar="FORMAT",
        choices=list(Format),
        default="fits",
        help="fits, tiff or ppm; the latter two of 16 bit (%(default)s)",
    )


def _add_batch(command: argparse.ArgumentParser) -> None:
    batch = command.add_argument_group("batches")
    ways = batch.add_mutually_exclusive_group()
    ways.add_argument(
        "--batch", dest="batch", action="store_true", default=None, help="also of a single frame"
    )
    ways.add_argument(
        "--single", dest="batch", action="store_false", default=None, help="one by one instead"
    )
    ways.add_argument(
        "--resume",
        metavar="ID",
        nargs="?",
        const="",
        help="fetch a batch that was cut off, and have missing frames taken (the newest)",
    )
    batch.add_argument(
        "--storage", choices=["auto", "memory", "disk"], default="auto", help="where frames wait"
    )
    batch.add_argument(
        "--delivery", choices=["live", "after"], default="live", help="when frames are sent"
    )
    batch.add_argument(
        "--rate", metavar="MB/S", type=_not_negative, help="what is sent at most; 0: no limit"
    )
    batch.add_argument(
        "--patience",
        metavar="SECONDS",
        type=_not_negative,
        default=300,
        help="how long a lost connection is waited for (%(default)s)",
    )


def _options_help() -> str:
    working = "\n".join(f"  {name:<10}  {meaning}" for name, meaning in options.WORKING.items())
    idle = textwrap.indent(textwrap.fill(", ".join(options.WITHOUT_EFFECT), 72), "    ")
    return (
        f"OPTIONS:\n{working}\n"
        f"  accepted from raspistill, without effect:\n{idle}\n\n"
        "example: picam capture -H pi.local -c shutter=10,ISO=800,mode=4056x3040:12 5"
    )


def _capture(command: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.resume is None:
        missing = [
            name
            for name, value in (("-c", arguments.wish), ("N", arguments.count))
            if value is None
        ]
        if missing:
            command.error(f"the following arguments are required: {', '.join(missing)}")
    elif arguments.wish is not None or arguments.count is not None:
        command.error("--resume takes what the batch was started with: leave -c and N out")
    wish = options.parse(arguments.wish) if arguments.wish is not None else None
    from indi_picam.client import capture
    from indi_picam.client.batch import BatchWish

    how = BatchWish(
        arguments.storage.upper(),
        arguments.delivery.upper(),
        arguments.rate,
        arguments.patience,
    )
    servers = list(dict.fromkeys(arguments.servers or [DEFAULT_SERVER]))
    capture.run(
        [
            capture.Order(
                server=server,
                device=arguments.device,
                directory=arguments.directory / _directory(server, servers),
                base=arguments.base,
                format=Format(arguments.format),
                wish=wish,
                count=arguments.count or 0,
                batch=arguments.batch,
                resume=arguments.resume,
                frames=None,
                how=how,
                is_verbose=arguments.is_verbose,
            )
            for server in servers
        ]
    )


def _directory(server: Server, servers: Sequence[Server]) -> str:
    """Of one server's files, in the directory asked for: nothing more if it is the only one."""
    if len(servers) == 1:
        return ""
    host, port = server
    name = host.replace("/", "_").replace(":", "_")
    is_alone = [other for other, _port in servers].count(host) == 1
    return name if is_alone else f"{name}_{port}"


# -- what is known, set and stored ----------------------------------------------------------------


def _add_one_camera(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-H",
        dest="server",
        metavar="HOST[:PORT]",
        type=_server,
        default=DEFAULT_SERVER,
        help=f"the INDI server (localhost:{DEFAULT_PORT})",
    )
    _add_device(command)


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", metavar="NAME", help="the camera, where there are several")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", dest="as_json", action="store_true", help="for programs")


def _add_query(add_parser: AddParser) -> None:
    command = add_parser(
        "query",
        help="what a camera can do, and how long a batch would take",
        description="Tells what a camera can do as it is set now, how many frames fit, and how "
        "long a batch of N frames would take.",
    )
    _add_one_camera(command)
    _add_json(command)
    command.add_argument(
        "-e", dest="exposure_s", metavar="SECONDS", type=_not_negative, help="exposure of a frame"
    )
    command.add_argument("count", metavar="N", type=_count, nargs="?", help="how many frames")

    def run(arguments: argparse.Namespace) -> None:
        from indi_picam.client import query

        query.run(
            arguments.server,
            arguments.device,
            arguments.count,
            arguments.exposure_s,
            as_json=arguments.as_json,
        )

    command.set_defaults(run=run)


def _add_calibrate(add_parser: AddParser) -> None:
    command = add_parser(
        "calibrate",
        help="measure how fast a camera is",
        description="Has the driver measure the camera and the mode as they are set now: how soon "
        "exposures begin, readout, disk and network. Estimates rest on it.",
    )
    _add_one_camera(command)

    def run(arguments: argparse.Namespace) -> None:
        from indi_picam.client import calibrate

        calibrate.run(arguments.server, arguments.device)

    command.set_defaults(run=run)


def _add_settings(add_parser: AddParser) -> None:
    command = add_parser(
        "settings",
        help="see and change any setting of a camera",
        description="NAME is one of the names in the list, or PROPERTY.ELEMENT of any property.",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all settings")
    listing.add_argument("--all", dest="is_whole", action="store_true", help="every property")
    get = actions.add_parser("get", help="the value of settings")
    get.add_argument("names", metavar="NAME", nargs="+")
    change = actions.add_parser("set", help="change settings, in that order")
    change.add_argument("names", metavar="NAME=VALUE", nargs="+")
    for action in (listing, get, change):
        _add_one_camera(action)

    def run(arguments: argparse.Namespace) -> None:
        from indi_picam.client import settings

        server = arguments.server
        if arguments.action == "list":
            settings.show_all(server, arguments.device, is_whole=arguments.is_whole)
        elif arguments.action == "get":
            settings.show(server, arguments.device, arguments.names)
        else:
            settings.change(server, arguments.device, arguments.names)

    command.set_defaults(run=run)


def _add_batches(add_parser: AddParser) -> None:
    command = add_parser(
        "batches",
        help="what a camera keeps of batches",
        description="Lists, fetches and discards what lies in a camera's store.",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the batches that are kept")
    _add_json(listing)
    redeliver = actions.add_parser("redeliver", help="have frames sent again, into files")
    redeliver.add_argument("id", metavar="ID")
    redeliver.add_argument(
        "frames", metavar="FRAMES", nargs="?", default="", help="1-5,8; else all"
    )
    redeliver.add_argument("-v", dest="is_verbose", action="store_true", help="tell of each file")
    _add_files(redeliver)
    discard = actions.add_parser("discard", help="delete a batch, fetched or not")
    discard.add_argument("id", metavar="ID")
    discard.add_argument("--yes", dest="is_sure", action="store_true", help="do not ask")
    for action in (listing, redeliver, discard):
        _add_one_camera(action)

    def run(arguments: argparse.Namespace) -> None:
        from indi_picam.client import batches, capture
        from indi_picam.client.batch import BatchWish

        server = arguments.server
        if arguments.action == "list":
            batches.show_all(server, arguments.device, as_json=arguments.as_json)
        elif arguments.action == "discard":
            batches.discard(server, arguments.device, arguments.id, is_sure=arguments.is_sure)
        else:
            order = capture.Order(
                server=server,
                device=arguments.device,
                directory=arguments.directory,
                base=arguments.base,
                format=Format(arguments.format),
                wish=None,
                count=0,
                batch=True,
                resume=arguments.id,
                frames=arguments.frames,
                how=BatchWish(),
                is_verbose=arguments.is_verbose,
            )
            capture.run([order])

    command.set_defaults(run=run)


# -- values ----------------------------------------------------------------------------------------


def _server(text: str) -> Server:
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?", text)
    if match is None or not 0 < int(match[3] or DEFAULT_PORT) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST or HOST:PORT")
    return Server(match[1] or match[2], int(match[3] or DEFAULT_PORT))


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a number of frames from 1 to 9999999"
        )
    return int(text)


def _base(text: str) -> str:
    if not text or "/" in text or "\0" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot begin a file name; the directory goes to -d"
        )
    return text


def _not_negative(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return number
