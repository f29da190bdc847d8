"""Runs the jobs, prints a table and writes results.json; see the package for what they are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    ekos_sequence,
    hand_over,
    namespace,
    one_by_one,
    recovering,
    resting,
    starting,
)
from benchmarks.figures import Figure, as_json, machine, table

HERE = Path(__file__).parent
JOBS: dict[str, Callable[[int], list[Figure]]] = {
    "starting": starting.run,
    "hand_over": hand_over.run,
    "ekos_sequence": ekos_sequence.run,
    "recovering": recovering.run,
    "one_by_one": one_by_one.run,
    "resting": resting.run,
}
"""By name; each takes how often to repeat what is repeated."""


def main() -> None:
    """Measures what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS)}")
    parser.add_argument("--rounds", type=int, default=20, help="repetitions (default: 20)")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", help="written to")
    parser.add_argument("--page", type=Path, help="Markdown file to write the table to as well")
    options = parser.parse_args()
    if unknown := set(options.jobs) - set(JOBS):
        parser.error(f"there is no job {', '.join(unknown)}")
    namespace.enter()
    about = machine()
    figures: list[Figure] = []
    for name in options.jobs or JOBS:
        print(f"{name} ...", flush=True)
        figures += JOBS[name](options.rounds)
    about["load at the end"] = machine()["load"]
    options.json.write_text(as_json(figures, about) + "\n")
    lines = ", ".join(f"{key} {value}" for key, value in about.items())
    print(f"\n{table(figures)}\n\n{lines}")
    if options.page:
        options.page.write_text(f"# Measured\n\n{lines}\n\n{table(figures)}\n")


if __name__ == "__main__":
    main()
