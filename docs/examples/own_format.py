"""A number format of one's own: its error, its speed on a machine, and its multiplier as Verilog with a bench."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import hwsim
from hwsim.files.figure import COLOURS, pyplot, save

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
MINE = "name: e3m1b16\nelement: E3M1\nblock: 16\nscale: e4m3\n"

OUT.mkdir(parents=True, exist_ok=True)
path = OUT / "e3m1b16.yaml"
path.write_text(MINE)

# 1. The error on weights with heavy tails, beside formats of a similar size.
x = np.random.default_rng(0).standard_t(4, (256, 1024)).astype(np.float32)
names = [str(path), "mxfp4", "nvfp4", "mxfp6", "mxfp8", "mx6", "mx9"]
found = [(hwsim.get_format(name), hwsim.qsnr(name, x)[0].db) for name in names]
for form, db in found:
    print(f"{form.name:12} {float(form.bits_per_value):5.2f} bits per value, QSNR {db:5.2f} dB")

# 2. The speed of a model in it. The note says what the machine multiplies instead.
result = hwsim.run("edge-mx", "llama3-8b", weights=str(path), context=2048)
print(result)

# 3. The dot product of two blocks as hardware, with a bench that any Verilog simulator runs.
command = [sys.executable, "-m", "rtl", "block-dot", "--format", str(path), "--vectors", "200", "-o", str(OUT / "rtl")]
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

plot = pyplot()
figure, axes = plot.subplots(figsize=(5, 3.2), layout="constrained")
for form, db in found:
    bits = float(form.bits_per_value)
    mine = form.name == "e3m1b16"
    axes.plot(bits, db, "o", color=COLOURS[1 if mine else 0])
    axes.annotate(form.name, (bits, db), (5, -3), textcoords="offset points")
axes.set(xlabel="bits per value", ylabel="QSNR, dB", xlim=(4, 11), title="Student t with four degrees of freedom")
save(figure, OUT / "own_format.svg")
print(OUT / "own_format.svg")
