"""A trace of requests in service: how many meet their limits on time to first token and time per output token?"""

import csv
import random
import subprocess
import sys
from pathlib import Path

from hwsim.files.figure import COLOURS, pyplot, save

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
TTFT, TPOT = 0.2, 0.02  # limits, in seconds

# 1. Half a minute of requests in bursts: for two of every ten seconds the rate triples.
OUT.mkdir(parents=True, exist_ok=True)
draw, now, rows = random.Random(1), 0.0, []
while now < 30:
    now += draw.expovariate(60 if now % 10 < 2 else 20)
    rows.append((f"{now:.3f}", draw.randint(256, 2048), draw.randint(32, 256)))
with (OUT / "requests.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("arrival_s", "input_tokens", "output_tokens"), *rows])

# 2. One H100 with the rules of vLLM, in two weight formats.
command = [sys.executable, "-m", "hwsim", "serve", "h100-sxm", "--model", "llama3-8b", "--trace", "requests.csv"]
plot = pyplot()
figure, axes = plot.subplots(figsize=(5, 3.2), layout="constrained")
for colour, weights in zip(COLOURS, ("bf16", "fp8"), strict=False):
    more = ["--weights", weights, "--slo", f"ttft={TTFT}s,tpot={TPOT}s", "--out", f"served-{weights}.csv"]
    print(subprocess.run([*command, *more], cwd=OUT, capture_output=True, text=True, check=True).stdout)
    with (OUT / f"served-{weights}.csv").open() as file:
        served = list(csv.DictReader(file))
    times = sorted(float(row["ttft_s"]) for row in served if not row["refused"])
    axes.plot(times, [(n + 1) / len(times) for n in range(len(times))], color=colour, label=weights)
    print(f"{weights}: {sum(each <= TTFT for each in times)} of {len(times)} first tokens within {TTFT} s")

# 3. The distribution of the time to first token.
axes.axvline(TTFT, color="grey", linestyle=":")
axes.set(xlabel="time to first token, s", ylabel="share of the requests", ylim=(0, 1), xlim=(0, None))
axes.set_title("llama3-8b on one H100, requests in bursts")
axes.legend(frameon=False)
save(figure, OUT / "served_trace.svg")
print(OUT / "served_trace.svg")
