"""What a run under load costs: 10,000 requests on a 70B model, the table of step times apart from the loop.

    python tests/bench/bench_serving.py                        drawn lengths, those of the load `chat`, 4.91 requests/s
    TRACE=azure_conv.csv python tests/bench/bench_serving.py   a trace in place of them, repeated up to 10,000 requests

CPU seconds of this process. The first run makes the table, states its error and the energy; a second one with the same
table is the loop alone. Published speeds of others stand beside it: they ran other loads on other computers, so that
they say what one waits for, and no ratio.
"""

import csv
import os
import sys
import tempfile
import time
from pathlib import Path

from hwsim.jobs.serve import Request as Steady
from hwsim.jobs.serving.file import read_load
from hwsim.jobs.serving.load import Load
from hwsim.jobs.serving.traces import read_trace
from hwsim.jobs.serving.traffic import Traffic

REQUESTS, RATE = 10_000, "4.91/s"  # the rate of Azure's conversation trace of 2023 (Patel et al., Splitwise, ISCA 2024)
LOOP, TABLE = 2.0, 10.0  # CPU s
PUBLISHED = (
    ("Vidur", "the best deployment of LLaMA2-70B in one hour on a CPU machine", "arXiv 2405.05465, abstract"),
    ("LLMServingSim", "91.5 times as fast as simulators of accelerators", "arXiv 2408.05499, abstract"),
    ("LLMServingSim 2.0", "around 10 minutes for a complex configuration", "arXiv 2602.23036, abstract"),
)


def repeated(path: Path, out: Path) -> None:
    """The rows of a trace again and again, each time shifted by its length."""
    rows = read_trace(path).rows
    first, last = rows[0].arrival or 0.0, rows[-1].arrival or 0.0
    length = (last - first) * len(rows) / max(1, len(rows) - 1)
    with out.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["arrival_s", "input_tokens", "output_tokens"])
        for i in range(REQUESTS):
            row = rows[i % len(rows)]
            shift = i // len(rows) * length - first
            write.writerow([f"{(row.arrival or 0.0) + shift:.6f}", row.input_tokens, row.output_tokens])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        if path := os.environ.get("TRACE"):
            repeated(Path(path), Path(folder) / "trace.csv")
            load = Load(trace=str(Path(folder) / "trace.csv"))
        else:
            load = Load(RATE, requests=REQUESTS, lengths=read_load("chat")["lengths"])
        traffic = Traffic("h100-sxm", Steady("llama3-70b", 1, 1, chips=4), load)
        marks = [time.process_time()]
        served = traffic.run().served
        marks.append(time.process_time())
        traffic.run()
        marks.append(time.process_time())
    loop, table = marks[2] - marks[1], marks[1] - marks[0] - (marks[2] - marks[1])
    print(
        f"{served.requests:,} requests, {served.passes:,} passes, {served.running[0]:.0f} running, llama3-70b on 4 "
        "h100-sxm"
    )
    print(f"  table of step times  {table:6.2f} CPU s   limit {TABLE:g}")
    print(f"  loop after it        {loop:6.2f} CPU s   limit {LOOP:g}   {served.requests / loop:,.0f} requests/s")
    for name, said, source in PUBLISHED:
        print(f"  published: {name:<18}{said} ({source})")
    return int(loop > LOOP or table > TABLE)


if __name__ == "__main__":
    sys.exit(main())
