"""Saved settings in INDI's own form: ``<INDIDriver>`` around one ``new*Vector`` per property.

The file is ``$INDICONFIG``, else ``~/.indi/<device>_config.xml``; beside it, written once, are
the ``.default`` ones. Loading gives the requests that the device then handles as if a client had
sent them. Plain functions that read and write files: call them off the loop's thread, those that
write from one thread alone. Every fault is a ConfigFault with a sentence; a file is never half
written.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from indi_picam import files
from indi_picam.indi.decoder import Decoder
from indi_picam.indi.encoder import encode
from indi_picam.indi.messages import New
from indi_picam.indi.vectors import AnyVector, value_text

MAX_FILE_BYTES = 4 << 20
"""A larger file is none of ours."""

_ROOT = re.compile(
    rb"\s*(?:<\?[^>]*>\s*|<!--.*?-->\s*)*<INDIDriver\s*>(.*)</INDIDriver\s*>\s*", re.DOTALL
)
_EMPTY_ROOT = re.compile(rb"\s*(?:<\?[^>]*>\s*|<!--.*?-->\s*)*<INDIDriver\s*/>\s*", re.DOTALL)

_Stamp = tuple[int, int, int]
"""Number, size and time of change of a file: what tells one version from the next."""
_known: dict[Path, tuple[_Stamp, list[New]]] = {}
"""What files hold that were read to be changed, or written: to read one takes some ms, during which
the loop cannot answer, even though it is another thread that reads."""


class ConfigFault(Exception):
    """Settings cannot be read or written; the text tells the user what to do."""


def config_path(device: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the settings of a device stand."""
    if configured := environment.get("INDICONFIG"):
        return Path(configured)
    return files.home(environment) / ".indi" / f"{device}_config.xml"


def default_path(path: Path) -> Path:
    """Where the settings as they were at first stand."""
    return path.with_name(path.name + ".default")


def load(path: Path, device: str) -> list[New]:
    """The saved settings of this device, in order; ConfigFault for none or a damaged file."""
    return [setting for setting in _read(path) if setting.device == device]


def save(path: Path, device: str, vectors: Iterable[AnyVector]) -> None:
    """Save these properties, in this order, instead of all saved of this device; ConfigFault."""
    others: list[New] = []
    # Else nothing is there, or nothing worth keeping: what is written now is whole.
    with contextlib.suppress(ConfigFault):
        others = [setting for setting in _read_to_change(path) if setting.device != device]
    _write(path, [*others, *(_setting(device, vector) for vector in vectors)])


def keep_default(path: Path, device: str, vectors: Iterable[AnyVector]) -> None:
    """Save these as the default ones, unless this device has some; ConfigFault."""
    default = default_path(path)
    with contextlib.suppress(ConfigFault):  # nothing there, or nothing worth keeping
        if load(default, device):
            return
    save(default, device, vectors)


def save_one(path: Path, device: str, name: str, vectors: Iterable[AnyVector]) -> None:
    """Save the one of these that has this name, or all when it is not saved yet; ConfigFault.

    INDI::CCD does so (defaultdevice.cpp, saveConfig). What is saved beside them stays.
    """
    try:
        saved = _read_to_change(path)
    except ConfigFault:
        saved = []  # nothing there, or nothing worth keeping
    fresh = {vector.name: _setting(device, vector) for vector in vectors}
    places = [i for i, old in enumerate(saved) if (old.device, old.name) == (device, name)]
    if places and saved[places[0]] == fresh[name]:
        return
    if places:
        saved[places[0]] = fresh[name]
        _write(path, saved)
    else:
        others = (old for old in saved if old.device != device or old.name not in fresh)
        _write(path, [*fresh.values(), *others])


def purge(path: Path) -> None:
    """Delete the saved settings, not the default ones; ConfigFault when there are none."""
    try:
        files.delete(path)
    except FileNotFoundError:
        raise ConfigFault(
            f"There are no saved settings to delete: {path} does not exist."
        ) from None
    except OSError as fault:
        raise ConfigFault(f"{path} cannot be deleted: {fault.strerror}.") from None


def _setting(device: str, vector: AnyVector) -> New:
    values = {name: value_text(value) for name, value in vector.values.items()}
    return New(device, vector.name, vector.kind, values)


def _read(path: Path) -> list[New]:
    _refuse_if_of_root(path)
    try:
        content = files.read(path, MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigFault(f"There are no saved settings yet: {path} does not exist.") from None
    except OSError as fault:
        raise ConfigFault(f"{path} cannot be read: {fault.strerror}.") from None
    return _settings(path, content)


def _read_to_change(path: Path) -> list[New]:
    stamp = _stamp(path)
    if stamp is None:
        return _read(path)
    if path not in _known or _known[path][0] != stamp:
        _known[path] = stamp, _read(path)
    return list(_known[path][1])


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _settings(path: Path, content: bytes) -> list[New]:
    if _EMPTY_ROOT.fullmatch(content):
        return []
    root = _ROOT.fullmatch(content) if len(content) <= MAX_FILE_BYTES else None
    if root is None:
        raise ConfigFault(f"{path} is damaged; save the settings anew or delete it.")
    settings = []
    for message in Decoder().feed(root[1]):
        if not isinstance(message, New):
            raise ConfigFault(f"{path} is damaged; save the settings anew or delete it.")
        settings.append(message)
    return settings


def _write(path: Path, settings: list[New]) -> None:
    _refuse_if_of_root(path)
    content = b"<INDIDriver>\n" + b"".join(map(encode, settings)) + b"</INDIDriver>\n"
    try:
        files.replace_at_once(path, content)
    except OSError as fault:
        raise ConfigFault(f"{path} cannot be written: {fault.strerror}.") from None
    if stamp := _stamp(path):
        _known[path] = stamp, settings


def _refuse_if_of_root(path: Path) -> None:
    # As libindi does (IUGetConfigFP): a driver once run with sudo leaves a file that no later run
    # could save to.
    with contextlib.suppress(OSError):
        if path.stat().st_uid == 0 and os.geteuid() != 0:
            raise ConfigFault(f"{path} belongs to root; run: sudo chown -R $USER: {path.parent}")
