"""Where pictures go: to clients, to the Pi's own disk, or both; file names, compression.

    UPLOAD_MODE   a picture
    CLIENT        is sent as CCD1
    LOCAL         is written below UPLOAD_DIR; CCD_FILE_PATH tells the name, nothing is sent
    BOTH          is written first and sent then

Files are written beside their place and renamed, so that none is ever half written; only
directories below the allowed ones are written to (``INDI_PICAM_UPLOAD_DIRS``, default the user's
home). Called by the exposing group, off the loop's thread where it touches a disk.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from indi_picam import files
from indi_picam.indi.device import Answer, Device
from indi_picam.indi.vectors import (
    Refused,
    State,
    Switch,
    SwitchVector,
    Text,
    TextVector,
)

OPTIONS, IMAGE_SETTINGS = "Options", "Image Settings"
UPLOAD_MODE = SwitchVector(
    "UPLOAD_MODE",
    "Upload",
    OPTIONS,
    (
        Switch("UPLOAD_CLIENT", "Client", True),
        Switch("UPLOAD_LOCAL", "Local"),
        Switch("UPLOAD_BOTH", "Both"),
    ),
    timeout=0,
)
WHERE_TO = {
    "UPLOAD_CLIENT": "Pictures are sent to clients.",
    "UPLOAD_LOCAL": "Pictures are saved here.",
    "UPLOAD_BOTH": "Pictures are saved here and sent to clients.",
}
UPLOAD_SETTINGS = TextVector(
    "UPLOAD_SETTINGS",
    "Upload Settings",
    OPTIONS,
    (Text("UPLOAD_DIR", "Dir"), Text("UPLOAD_PREFIX", "Prefix", "IMAGE_XXX")),
)
FILE_PATH = TextVector(
    "CCD_FILE_PATH", "Filename", "Image Info", (Text("FILE_PATH", "Path"),), perm="ro"
)
COMPRESSION = SwitchVector(
    "CCD_COMPRESSION",
    "Compression",
    IMAGE_SETTINGS,
    (Switch("INDI_ENABLED", "Enabled"), Switch("INDI_DISABLED", "Disabled", True)),
)
TRANSFER_FORMAT = SwitchVector(
    "CCD_TRANSFER_FORMAT", "Encode", IMAGE_SETTINGS, (Switch("FORMAT_FITS", "FITS", True),)
)
HOME_TOKEN = "_HOME_"
_LONGEST_PREFIX = 200
_PART = ".indi_picam-"
"""How the name of a file begins that is being written."""
_LARGEST_NUMBER = 10**9
_LONGEST_NAME = 255
"""Bytes that file systems of Linux take (NAME_MAX)."""
_NOT_IN_NAMES = re.compile(r"[^\w.,;=+@() \[\]-]")
_COPY_BYTES = 8 << 20


class Uploading:
    """The upload properties of one camera."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._home = files.home()
        allowed = os.environ.get("INDI_PICAM_UPLOAD_DIRS")
        if allowed:
            self._allowed = [Path(p) for p in allowed.split(":") if p]
        else:  # a user without a home is not allowed everything
            self._allowed = [self._home] if self._home != Path("/") else []
        self._mode = device.add(UPLOAD_MODE, self._set_mode)
        self._settings = device.add(
            UPLOAD_SETTINGS.with_values({"UPLOAD_DIR": str(self._home)}), self._set_settings
        )
        self._path = device.add(FILE_PATH)
        self._compression = device.add(COMPRESSION)
        device.add(TRANSFER_FORMAT)

    @property
    def saves(self) -> bool:
        """Whether pictures are written to a disk here."""
        return not self._mode["UPLOAD_CLIENT"]

    @property
    def sends(self) -> bool:
        """Whether pictures are sent to clients."""
        return not self._mode["UPLOAD_LOCAL"]

    @property
    def compresses(self) -> bool:
        """Whether pictures are compressed before they are sent."""
        return bool(self._compression["INDI_ENABLED"])

    def connected(self) -> None:
        """Shows the name of the last file while files are written."""
        if self.saves:
            self._device.define(self._path)

    async def save(self, memory: int, size: int, *, of_batch: bool) -> Path:
        """Writes a finished file to its place, and returns that; raises OSError or Refused.

        That of a batch never takes the place of another, whatever the prefix.
        """
        folder = self.checked_folder(str(self._settings["UPLOAD_DIR"]))
        prefix = str(self._settings["UPLOAD_PREFIX"])
        if of_batch and "XXX" not in prefix:
            prefix += "_XXX"
        picture = Picture(os.dup(memory), size)
        writing = asyncio.get_running_loop().run_in_executor(
            None, write_picture, folder, prefix, ".fits", picture
        )
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            picture.wanted = False
            raise

    def tell_of(self, path: Path) -> None:
        """Tells where a file was written."""
        self._device.message(f"Image saved to {path}")
        self._device.set(self._path, {"FILE_PATH": str(path)}, state=State.OK)

    async def _set_mode(self, asked: Mapping[str, bool]) -> Answer:
        # Before the answer, as INDI::CCD does: a client that knows the answer knows the property.
        if asked["UPLOAD_CLIENT"]:
            self._device.delete(self._path)
        else:
            self._device.define(self._path)
        return Answer(message=WHERE_TO[next(name for name, on in asked.items() if on)])

    async def _set_settings(self, asked: Mapping[str, str]) -> Answer:
        values = dict(asked)
        if "UPLOAD_DIR" in asked:
            values["UPLOAD_DIR"] = asked["UPLOAD_DIR"] or str(self._home)
            self.checked_folder(values["UPLOAD_DIR"])
        if "UPLOAD_PREFIX" in asked:
            values["UPLOAD_PREFIX"] = prefix = clean_name(asked["UPLOAD_PREFIX"])
            # A batch adds a number where the prefix has none.
            longest = picture_name(f"{prefix}_XXX", _LARGEST_NUMBER, ".fits", datetime.now())
            if len(longest.encode()) > _LONGEST_NAME:
                raise Refused(
                    f"The prefix is refused: with its dates and numbers a file's name would have"
                    f" more than {_LONGEST_NAME} bytes."
                )
        return Answer(values=values)

    def checked_folder(self, text: str) -> Path:
        """The real directory that a client names; raises Refused when it is not allowed."""
        named = Path(text.replace(HOME_TOKEN, str(self._home)))
        if not named.is_absolute() or not text.isprintable():
            raise Refused(f"The directory {text!r} is refused: give a whole path, from / on.")
        if any(len(part.encode()) > _LONGEST_NAME for part in named.parts):
            raise Refused(f"The directory is refused: names have up to {_LONGEST_NAME} bytes.")
        try:
            real = named.resolve()
            allowed = any(real.is_relative_to(folder.resolve()) for folder in self._allowed)
        except (OSError, RuntimeError) as fault:  # a loop of links (RuntimeError before 3.13)
            raise Refused(f"The directory {text!r} cannot be followed: {fault}.") from None
        if not allowed:
            raise Refused(
                f"The directory {real} is refused: pictures may be written below "
                f"{' and '.join(map(str, self._allowed)) or 'none'} (INDI_PICAM_UPLOAD_DIRS)."
            )
        return real


def clean_name(prefix: str) -> str:
    """A prefix as part of a file name: no separators, nothing hidden, at most 200 bytes."""
    composed = unicodedata.normalize("NFC", prefix)
    cleaned = _NOT_IN_NAMES.sub("_", composed).lstrip(".").encode()[:_LONGEST_PREFIX]
    return cleaned.decode(errors="ignore") or "IMAGE"


def picture_name(prefix: str, number: int, extension: str, now: datetime) -> str:
    """A file name: ``XXX`` becomes the number, ``ISO8601`` the local time with milliseconds."""
    stamp = f"{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond // 1000:03d}"
    return prefix.replace("ISO8601", stamp).replace("XXX", f"{number:03d}") + extension


def next_number(folder: Path, prefix: str) -> int:
    """The number of the next picture as INDI::CCD counts (indiccd.cpp, getFileIndex).

    One more than the largest that stands between the last ``_`` and the last ``.`` of a name with
    this prefix. Where ``XXX`` is not the prefix's end, after a ``_``, none is found there.
    """
    plain = prefix.replace("_ISO8601", "").replace("_XXX", "")
    ends = (
        entry.rpartition(".")[0].rpartition("_")[2]
        for entry in os.listdir(folder)
        if plain in entry
    )
    return 1 + max((int(end) for end in ends if end.isdecimal()), default=0)


@dataclass(slots=True)
class Picture:
    """A file to be written by a thread, which closes the descriptor."""

    memory: int
    size: int
    wanted: bool = True
    """Set to False when its exposure was aborted: nothing of it is left then."""


def write_picture(folder: Path, prefix: str, extension: str, picture: Picture) -> Path:
    """Writes a file beside its place and renames it; an OSError leaves nothing half-written."""
    beside = None
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_abandoned(folder)
        descriptor, beside = _begun(folder, extension)
        with os.fdopen(descriptor, "wb") as file:
            _copy(picture, file.fileno())
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            path = _named(beside, folder, prefix, extension)  # while it is locked
        files.sync_directory(folder)
        return path
    finally:
        os.close(picture.memory)
        if beside is not None:
            beside.unlink(missing_ok=True)


def _begun(folder: Path, extension: str) -> tuple[int, Path]:
    """A new file that is locked while it is open, and its path."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PART, suffix=extension, dir=folder)
        # Some network file systems know no locks: there nothing is removed either.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # another camera took it for abandoned before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Removes what a driver left that was killed while it wrote; what is being written is locked.

    indiserver ends drivers with SIGKILL.
    """
    for entry in folder.glob(f"{_PART}*"):
        with suppress(OSError), entry.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.unlink()


def _copy(picture: Picture, target: int) -> None:
    done = 0
    while done < picture.size:
        if not picture.wanted:
            raise OSError(errno.ECANCELED, "the exposure was aborted")
        piece = min(_COPY_BYTES, picture.size - done)
        copied = os.sendfile(target, picture.memory, done, piece)
        if not copied:
            raise OSError(errno.EIO, "the picture is shorter than it says")
        done += copied


def _named(beside: Path, folder: Path, prefix: str, extension: str) -> Path:
    """Gives a written file its name; a numbered one never takes the place of another's."""
    if "XXX" not in prefix:
        return beside.replace(folder / picture_name(prefix, 0, extension, datetime.now()))
    number = next_number(folder, prefix)
    while True:
        path = folder / picture_name(prefix, number, extension, datetime.now())
        try:
            _take_free_name(beside, path)
        except FileExistsError:
            number += 1  # not found there, or another camera took it meanwhile
        else:
            return path


def _take_free_name(beside: Path, path: Path) -> None:
    """Raises FileExistsError, with both files as they were, when the name is taken."""
    try:
        os.link(beside, path)
    except OSError as fault:
        if fault.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        # File systems of USB sticks have no links.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        try:
            beside.replace(path)
        except OSError:
            path.unlink()
            raise
