"""Runs the jobs, prints a table and writes results.json; see the package for what they are."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    answering,
    batches,
    compressing,
    ekos_sequence,
    foretelling,
    growing,
    guard,
    guiding,
    hand_over,
    memory,
    namespace,
    one_by_one,
    recovering,
    resting,
    runs,
    sequences,
    small_machine,
    starting,
)
from benchmarks.figures import Figure, as_json, cannot, machine, table

HERE = Path(__file__).parent
Job = Callable[[int], list[Figure]]
JOBS: dict[str, Job] = {
    "starting": starting.run,
    "hand_over": hand_over.run,
    "runs": runs.run,
    "memory": memory.run,
    "sequences": sequences.run,
    "batches": batches.run,
    "foretelling": foretelling.run,
    "one_by_one": one_by_one.run,
    "guiding": guiding.run,
    "recovering": recovering.run,
    "answering": answering.run,
    "resting": resting.run,
    "growing": growing.run,
    "compressing": compressing.run,
    "ekos_sequence": ekos_sequence.run,
    "small_machine": small_machine.run,
}
"""By name; each takes how often to repeat what is repeated."""
SHORT: dict[str, Job] = {"guard": guard.run}
"""Jobs that run only when named."""

_PAGE = """# Measured

Written by `make bench`, every job in one run: {surroundings}.

Milliseconds are those of this machine; ratios carry over to others, a Raspberry Pi among them,
where nothing was measured yet. The cameras are simulated below picamera2: times count from the
simulated sensor's own log, and what its process uses is left out; what stands for libcamera inside
our worker is counted. Contestants took turns; limits hold for medians. How each figure is taken
stands at the top of its module in `benchmarks/`.

{table}
"""


def main() -> None:
    """Measures what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(JOBS | SHORT)}")
    parser.add_argument("--rounds", type=int, default=20, help="repetitions (default: 20)")
    parser.add_argument("--json", type=Path, default=HERE / "results.json", help="written to")
    parser.add_argument("--page", type=Path, help="Markdown file to write the table to as well")
    parser.add_argument("--strict", action="store_true", help="fail when a limit is missed")
    options = parser.parse_args()
    if unknown := set(options.jobs) - set(JOBS | SHORT):
        parser.error(f"there is no job {', '.join(unknown)}")
    namespace.enter()
    about = machine()
    figures: list[Figure] = []
    failed: list[str] = []
    for name in options.jobs or JOBS:
        print(f"{name} ...", flush=True)
        try:
            figures += (JOBS | SHORT)[name](options.rounds)
        except Exception as fault:  # whatever it is, the other jobs' figures stand
            traceback.print_exc()
            failed.append(name)
            figures.append(cannot(name, "this run", f"{type(fault).__name__}: {fault}"))
    about["load at the end"] = machine()["load"]
    options.json.write_text(as_json(figures, about) + "\n")
    surroundings = ", ".join(f"{key} {value}" for key, value in about.items())
    print(f"\n{table(figures)}\n\n{surroundings}")
    if options.page:
        options.page.write_text(_PAGE.format(surroundings=surroundings, table=table(figures)))
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")
    if options.strict and any(figure.met is False for figure in figures):
        sys.exit("A limit is missed.")


if __name__ == "__main__":
    main()
