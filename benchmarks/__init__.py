"""How fast, how small, how steady: every figure that is claimed, measured in one run.

    python -m benchmarks [JOB ...]      all jobs, or those named; a table, and results.json

Start reading with ``__main__.py``, which lists the jobs. ``stage.py`` puts a driver on a real
indiserver with real sockets; ``wire.py`` reads them without decoding a picture; ``processes.py``
asks the kernel for processor time and memory; ``figures.py`` keeps values and limits. The other
modules are the jobs.

Times count from what the simulated sensor's own log says (completed requests, starts of
exposures), never from what the driver says of itself. The sensor's process stands for hardware:
what it uses is left out everywhere. Contestants take turns (A B C A B C), so that whatever else the
machine does hits all of them; medians are compared, and the worst and the quartiles are shown.
"""
