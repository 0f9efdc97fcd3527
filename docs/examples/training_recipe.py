"""Training recipes: what do FP8 and MXFP8 buy over BF16?"""

import sys
from pathlib import Path

import hwsim
from hwsim.files.figure import COLOURS, pyplot, save

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
RECIPES = ("bf16", "fp8", "mxfp8")

speeds = {}
for recipe in RECIPES:
    found = hwsim.train("b200", "llama3-8b", batch=128, context=8192, recipe=recipe, parallel="dp=8", shard=3)
    speeds[recipe] = found.tokens_per_second_per_chip
    print(f"{recipe:6} {speeds[recipe]:8,.0f} tokens/s per chip, {speeds[recipe] / speeds['bf16']:.2f} times bf16")

OUT.mkdir(parents=True, exist_ok=True)
plot = pyplot()
figure, axes = plot.subplots(figsize=(5, 3), layout="constrained")
bars = axes.bar(list(speeds), list(speeds.values()), color=COLOURS[0])
axes.bar_label(bars, fmt="{:,.0f}")
axes.set(ylabel="tokens/s per chip", title="llama3-8b on eight B200, batch 128 x 8,192")
save(figure, OUT / "training_recipe.svg")
print(OUT / "training_recipe.svg")
