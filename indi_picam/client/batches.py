"""`picam batches`: what lies in a camera's store, listed and discarded."""

from __future__ import annotations

import dataclasses
import json
import sys

from rich.console import Console
from rich.table import Table

from indi_picam.client.device import connected_device
from indi_picam.client.failure import Exit, Failure
from indi_picam.client.heard import Server
from indi_picam.client.stored import stored_batches


def show_all(server: Server, name: str | None, *, as_json: bool) -> None:
    """Prints the batches that are kept, oldest first."""
    batches = stored_batches(connected_device(server, name, "BATCH_LIST"))
    if as_json:
        print(json.dumps([dataclasses.asdict(batch) for batch in batches], indent=1))
        return
    if not batches:
        print("The camera keeps no batch.")
        return
    table = Table("batch", "asked", "taken", "delivered", "received", "kept")
    for batch in batches:
        counts = (batch.asked, batch.taken, batch.delivered, batch.acknowledged)
        table.add_row(
            batch.id, *map(str, counts), f"in {batch.where}".replace("in disk", "on disk")
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def discard(server: Server, name: str | None, id: str, *, is_sure: bool) -> None:
    """Deletes a batch from the store; asks before.

    Raises:
        Failure: there is no such batch, it is being taken, or nobody says yes.
    """
    device = connected_device(server, name, "BATCH_DISCARD", "BATCH_LIST")
    batch = next((batch for batch in stored_batches(device) if batch.id == id), None)
    if batch is None:
        known = ", ".join(other.id for other in stored_batches(device)) or "none"
        raise Failure(Exit.USAGE, f"{device.name} keeps no batch {id}. It keeps: {known}.")
    if not is_sure:
        lost = batch.taken - batch.acknowledged
        print(f"Batch {id} has {batch.taken} frames, {lost} of them received by nobody.")
        if not sys.stdin.isatty():
            raise Failure(Exit.USAGE, "Nothing is discarded without --yes where nobody can answer.")
        if input("Delete it for good? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Failure(Exit.INTERRUPTED, "Nothing is discarded.")
    before = device.connection.heard
    device.change("BATCH_DISCARD", {"BATCH": id})
    for sentence in device.sentences(before):
        print(sentence)
