"""Whole models against measurements: reports/serving.md, its CSV and its figure, a part of `hwsim validate`.

Rows: the datasets of kinds `tpot` and `serving`. Each is predicted by the command that the CSV prints beside it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from hwsim import __version__
from hwsim.arch.stack import DEFAULT, ServingStack, load_stack
from hwsim.files.figure import pyplot, save
from hwsim.files.tables import markdown as table
from hwsim.files.whole import write_whole
from hwsim.jobs.serve import Deployment, Request
from hwsim.measured.served import Measured, Progress, left_out, mean, predict_all
from hwsim.measured.sets import Dataset, datasets
from hwsim.measured.stacks import rows_of_stacks
from hwsim.measured.traffic import section as under_load
from hwsim.workload import load_model

Curves = dict[str, list[tuple[int, float]]]
#: Error of a row by the numbers that fit the other models of its stack, by the row's id.
Errors = dict[int, float]
#: Kinds of datasets that this page scores.
KINDS = ("tpot", "serving")
#: Goals in percent by dataset: of dense models, and of all (e2e_tpot) or of those with experts.
GOALS = {"e2e_tpot": (10, 15), "serving_maxima": (8, 12), "serving": (8, 12)}
#: Models that no fit has seen: goals for the mean and the median error of a model's rows, percent.
UNSEEN, UNSEEN_GOALS = "families_tpot", (15, 10)
#: Why a group of rows is missed: (stack, model, machine; "" is any), and the cause. The first that fits is printed.
CAUSES = (
    ("vllm-hopper", "qwen3-235b-a22b", "", "vLLM's Triton experts with block scales are slower than any table here"),
    ("vllm-hopper", "llama3-8b", "", "the source's times equal our decode step: no prefill is in them"),
    ("vllm", "llama3-70b", "", "too fast, fp8 more than nvfp4: this stack costs more per sequence than gpt-oss says"),
    ("", "deepseek-v3", "b200", "DeepGEMM experts were measured on one small layer, whose launches R1's do not have"),
    ("", "glm-5.1", "", "measured in nvfp4 as slow as in fp8_block, so not the experts; the indexer was not measured"),
    (
        "",
        "kimi-k2.5",
        "b200",
        "experts in INT4 have the times of MXFP4's weight-only kernels, measured on one layer",
    ),
    ("vllm-hopper", "minimax-m2.5", "", "vLLM's Triton experts with block scales are slower than any table here"),
    ("vllm", "minimax-m2.5", "", "experts: fitted to one layer per format"),
    ("vllm-hopper", "qwen3-32b", "", "the stack has no time per step; on 8 chips, with small kernels, one shows"),
    ("sglang", "qwen3.5-397b-a17b", "", "gated DeltaNet was not measured: bounds of the chip"),
    ("sglang", "", "", "22 rows of two models do not determine the stack"),
    ("", "gpt-oss-120b", "b200", "experts: kernels fitted to one other layer"),
    ("", "gpt-oss-20b", "", "experts: mxfp4 kernels of a later release; 3,000 sequences on a stack fitted to 64"),
    ("", "qwen3-235b-a22b", "", "experts: fitted to one layer per format; exchange between chips was not measured"),
    ("trtllm", "", "", "up to 1,000 sequences, where the stack was fitted to 64: more per sequence would close it"),
)

#: The published comparison: one H200, 8K in, 16K out (arXiv 2512.20848, figure 1), and the ratios it gives.
HEADLINE = (
    ("Nemotron 3 Nano", "nemotron3-nano-30b-a3b", "published-fp8", None),
    ("gpt-oss-20b", "gpt-oss-20b", "published-mxfp4", None),
    ("Qwen3-30B-A3B, KV bf16", "qwen3-30b-a3b-thinking-2507", "published-fp8", None),
    ("Qwen3-30B-A3B, KV fp8", "qwen3-30b-a3b-thinking-2507", "published-fp8", "fp8"),
)
BASE = HEADLINE[-1][0]
PUBLISHED = (3.3, 1.5, 1.0)
HEADLINE_STACK = "vllm-hopper"
CAPS = (32, 64, 128, 256, 512, 1024)
#: The most sequences at once, chosen before the ratios were seen.
CAP = 256


def dense(row: Measured) -> bool:
    """Whether the row's model has no experts."""
    return getattr(load_model(row.row["model"]), "moe", None) is None


def number(errors: Sequence[float]) -> str:
    """Mean error and signed mean, percent."""
    return f"{mean(errors):.1f} ({100 * sum(errors) / len(errors):+.0f})" if len(errors) else "-"


def cause(row: Measured) -> str:
    """Why rows like this one are missed, as far as it is known."""
    mine = (row.stack, row.row["model"], row.row["machine"])
    fits = (text for *keys, text in CAUSES if all(k in ("", v) for k, v in zip(keys, mine, strict=True)))
    return next(fits, "not known")


def error_without(row: Measured) -> float:
    """Without software; quantising stays as the stack has it."""
    return float(row.errors(0.0, 0.0))


def stack_table(rows: Sequence[Measured]) -> str:
    """A row per stack: its rules, its numbers and what they were fitted to."""
    lines = []
    for name in (DEFAULT, *dict.fromkeys(row.stack for row in rows)):
        stack = load_stack(name)
        step, sequence = f"{1e3 * stack.step_seconds:g} ms", f"{1e6 * stack.sequence_seconds:g} us"
        lines.append([name, stack.quantise, step, sequence, *_fit_cells(stack)])
    return table(
        ["stack", "quantise", "step", "sequence", "rows", "models", "error in the fit %", "model left out %"], lines
    )


def _fit_cells(stack: ServingStack) -> list[str]:
    if stack.fit is None:
        return ["-"] * 4
    out = "-" if stack.fit.left_out is None else f"**{stack.fit.left_out:.1f}**"
    return [str(stack.fit.rows), str(stack.fit.models), f"{stack.fit.in_fit:.1f}", out]


def goal_table(rows: Sequence[Measured], others: Errors) -> str:
    """What was asked of whole models, and what is."""
    lines = []

    def line(what: str, mine: Sequence[Measured], asked: float) -> None:
        errors = [others.get(id(row), row.error) for row in mine]
        found = mean(errors) if errors else float("nan")
        said = "reached" if found <= asked else f"missed by {found - asked:.1f}"
        bare = [error_without(row) for row in mine]
        lines.append([what, str(len(mine)), f"**{number(errors)}**", number(bare), f"{asked:g}", said])

    of = {name: [row for row in rows if row.dataset == name] for name in GOALS}
    flat = {name: [row for row in mine if dense(row)] for name, mine in of.items()}
    experts = {name: [row for row in mine if not dense(row)] for name, mine in of.items()}
    divided = [row for row in experts["serving_maxima"] if row.row["parallel"] == "data+expert"]
    shared = [row for row in experts["serving_maxima"] if row.row["parallel"] != "data+expert"]
    line("time per output token, dense models, model left out", flat["e2e_tpot"], GOALS["e2e_tpot"][0])
    line("time per output token, all models, model left out", of["e2e_tpot"], GOALS["e2e_tpot"][1])
    line("published maxima, dense models", flat["serving_maxima"], GOALS["serving_maxima"][0])
    line("published maxima, experts on one chip", shared, GOALS["serving_maxima"][1])
    line("published maxima, experts, attention divided by sequences", divided, GOALS["serving_maxima"][1])
    line("published rates, dense models", flat["serving"], GOALS["serving"][0])
    line("published rates, models with experts", experts["serving"], GOALS["serving"][1])
    header = ["what", "rows", "mean error % (signed)", "without software", "goal", ""]
    return table(header, lines)


def group_table(rows: Sequence[Measured], others: Errors, limit: float) -> str:
    """A row per stack, machine, model and checkpoint; those beyond `limit` percent say why."""
    groups: dict[tuple[str, ...], list[Measured]] = {}
    for row in rows:
        key = (row.stack, row.row["machine"], row.row["model"], row.row.get("checkpoint", row.row["weights"]))
        groups.setdefault(key, []).append(row)
    lines = []
    for names, mine in groups.items():
        shipped, out = [row.error for row in mine], [others[id(row)] for row in mine if id(row) in others]
        worst = max(shipped, key=abs)
        why = cause(mine[0]) if mean(out or shipped) > limit else ""
        cells = [str(len(mine)), number(shipped), number(out), number([error_without(r) for r in mine])]
        lines.append([*names, *cells, f"{100 * worst:+.0f}", why])
    header = [
        "stack",
        "machine",
        "model",
        "checkpoint",
        "rows",
        "shipped stack %",
        "model left out %",
        "no software %",
        "worst",
    ]
    return table([*header, "cause"], lines)


def unseen_table(rows: Sequence[Measured]) -> str:
    """A row per model that no fit has seen, with the goals for its mean and its median error."""
    lines = []
    for model in (*dict.fromkeys(row.row["model"] for row in rows), "all"):
        errors = [row.error for row in rows if model in ("all", row.row["model"])]
        middle = 100 * median(abs(error) for error in errors)
        over = [max(0.0, found - goal) for found, goal in zip((mean(errors), middle), UNSEEN_GOALS, strict=True)]
        said = "reached" if not any(over) else f"missed by {over[0]:.1f} and {over[1]:.1f}"
        lines.append([model, str(len(errors)), f"**{number(errors)}**", f"**{middle:.1f}**", said])
    goals = "goals {} and {}".format(*UNSEEN_GOALS)
    return table(["model", "rows", "mean error % (signed)", "median %", goals], lines)


def row_table(rows: Sequence[Measured], others: Errors) -> str:
    """Every row of serving.csv, with its formats."""
    lines = []
    for row in rows:
        r, chips = row.row, int(row.row["chips"])
        formats = [r[name] or "default" for name in ("weights", "activations", "kv")]
        what = [
            row.stack,
            r["machine"],
            r["model"],
            *formats,
            f"{r['isl']}/{r['osl']}",
            r["batch"],
            str(row.batch),
            r["chips"],
        ]
        rates = [f"{row.measured * chips:,.0f}", f"{row.predicted * chips:,.0f}"]
        out = f"{100 * others[id(row)]:+.0f}" if id(row) in others else "-"
        lines.append([*what, *rates, f"{100 * row.error:+.0f}", out, f"{100 * error_without(row):+.0f}"])
    header = ["stack", "machine", "model", "weights", "activations", "kv", "in/out", "batch", "predicted at", "chips"]
    return table([*header, "measured", "predicted", "error %", "model left out", "no software"], lines)


def headline(stack: str = HEADLINE_STACK) -> Curves:
    """(cap, tokens per second) of each model under one stack."""
    found: Curves = {}
    for label, model, weights, kv in HEADLINE:
        server = Deployment("h200-sxm-trtllm", Request(model, 8192, 16384, weights, kv=kv, stack=stack))
        most = server.batch_by_memory
        found[label] = [(cap, server.serve(min(cap, most)).tokens_per_second_per_chip) for cap in CAPS]
    return found


def figure(curves: Curves, path: Path) -> None:
    """Rates and ratios against the cap."""
    plt = pyplot(8)
    drawing, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    base = dict(curves[BASE])
    for label, curve in curves.items():
        caps, rates = zip(*curve, strict=True)
        left.plot(caps, rates, "o-", ms=3, label=label)
        right.plot(caps, [r / base[c] for c, r in curve], "o-", ms=3, label=label)
    for value in PUBLISHED[:-1]:
        right.axhline(value, color="black", lw=0.6, ls=":")
        right.text(CAPS[0], value, f" published {value}", va="bottom")
    left.set(xscale="log", yscale="log", ylabel="tokens/s", xlabel="cap on sequences", title="one H200, 8K in, 16K out")
    right.set(xscale="log", ylabel="relative to Qwen3, KV fp8", xlabel="cap on sequences", title="ratio")
    for axis in (left, right):
        axis.set_xticks(CAPS, [str(b) for b in CAPS])
        axis.minorticks_off()
    left.set_yticks([1000, 2000, 5000, 10000], ["1,000", "2,000", "5,000", "10,000"])
    left.legend(frameon=False)
    save(drawing, path)


def headline_table(curves: Curves) -> str:
    """Tokens per second, and the ratio to the last model, by cap."""
    base = dict(curves[BASE])
    lines = [
        [label, *(f"{rate:,.0f} ({rate / base[cap]:.2f})" for cap, rate in curve)] for label, curve in curves.items()
    ]
    return table(["model", *(f"cap {c}" for c in CAPS)], lines)


def csv_text(rows: Sequence[Measured], others: Errors) -> str:
    """Every row: options, measurement, prediction to the digit, and the command that prints it."""
    columns = ["dataset", "stack", "version", "machine", "model", "checkpoint", "weights", "activations", "kv", "chips"]
    columns += ["parallel", "isl", "osl", "batch"]
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    more = ["batch_served", "field", "measured", "predicted", "error_percent", "left_out_percent", "note", "command"]
    write.writerow([*columns, *more])
    for row in rows:
        cells = [{"dataset": row.dataset, **row.row}.get(name, "") for name in columns]
        out_error = f"{100 * others[id(row)]:.2f}" if id(row) in others else ""
        figures = [
            row.served,
            row.field,
            f"{row.measured:.6g}",
            repr(row.predicted),
            f"{100 * row.error:.2f}",
            out_error,
        ]
        write.writerow([*cells, *figures, row.note, row.command])
    return out.getvalue()


def errors_left_out(rows: Sequence[Measured], of: Sequence[Dataset]) -> Errors:
    """The error of each row of a fitted stack by the numbers that fit the stack's other models, by the row's id."""
    found: Errors = {}
    for mine in rows_of_stacks(rows, {d.name: d.fitted for d in of}).values():
        found |= {id(row): error for row, error in left_out(mine)}
    return found


def report(rows: Sequence[Measured], others: Errors, curves: Curves) -> str:
    """The page."""
    of = {name: [row for row in rows if row.dataset == name] for name in (*GOALS, UNSEEN)}
    ratios = [dict(curves[label])[CAP] / dict(curves[BASE])[CAP] for label in (HEADLINE[0][0], HEADLINE[1][0], BASE)]
    published, ours = (" : ".join(f"{x:.1f}" for x in values) for values in (PUBLISHED, ratios))
    short = [row for row in rows if row.note]
    return f"""\
# Serving

Written by `make validate` (hwsim {__version__}). Whole models in serving frameworks against {len(rows):,} measured
figures: the datasets of kinds `tpot` and `serving` in `hwsim/measured/sets.yaml`. Every prediction is the answer of a
command with the row's formats as options; [serving.csv](serving.csv) holds them all, to the digit. Machines are those
of `reports/validation.md`; the H200 has no measured kernels and is predicted from H100's and the two data sheets.

{goal_table(rows, others)}

A *model left out* is predicted by a stack whose two numbers were fitted to the other models. The maxima are never
fitted. `serving_maxima` and `serving` share {_shared(of["serving_maxima"], of["serving"])} published figures.

## Stacks

What the software around the kernels costs (`--stack`): time per step and per sequence of a decode step, fitted by
`make stacks` to times per output token; and whether quantising with static scales is fused into the op ahead, which
then costs its bytes and no launch. `default` was fixed beforehand; its error is that of all fitted rows under it.

{stack_table(rows)}

Time per output token = decode step + (batch - 1) x prefill of a prompt / (output tokens - 1): while a user waits for a
token, the other sequences have their prompts computed. No claim is made on times to the first token: they are queueing,
and a steady state has no queue.

## Times per output token

{group_table(of["e2e_tpot"], others, 10)}

Formats: checkpoints as published; KV in fp8 in InferenceX's runs but for gpt-oss on Hopper (bf16), bf16 in the others;
gpt-oss has experts in MXFP4, with MXFP8 activations on B200 (`--activations mxfp8`) and bf16 activations on Hopper.
`published-mxfp4` alone means bf16 activations, as its model card says: on B200 that is another, slower kernel.
llama3-8b and llama3-70b stand for Llama 3.1 8B and 3.3 70B: the same shapes, made for longer contexts.
{len(short)} rows ask for more sequences than we find room for; predicted is what fits (`note` in the CSV).

## Times per output token of models that no fit has seen

The stacks' numbers and the kernels' shares were fitted without any row of these models. R1 has the shape of
deepseek-v3, GLM-5 that of glm-5.1. Measured rows of B300 and GB200 are left out: nothing is calibrated for them.

{unseen_table(of[UNSEEN])}

{group_table(of[UNSEEN], {}, UNSEEN_GOALS[0])}

## Published maxima

As many sequences as fit, at the best of the batches tried, which the command names.

{group_table(of["serving_maxima"], {}, 8)}

## Published rates

{row_table(of["serving"], others)}

Where these are missed: one sequence of llama3-8b on TensorRT-LLM (+{_worst(of["serving"], "llama3-8b"):.0f} %) takes
6 ms per token as published, which the newer runs above do not show; gpt-oss-20b is computed by experts' kernels fitted
to another layer; weight-only GEMMs of llama2-70b on A100 are larger than any in the fitted table; and the batch of
Nemotron's runs at which two neighbours differ by 29 % holds an outlier of its source.

The KV cache of TensorRT-LLM keeps every position of gpt-oss's window layers here, as it does unless
`KvCacheConfig.max_attention_window` is set (its default is none). What the published runs set is not said; we chose
this default after seeing these rows, so it is not an independent check. TensorRT-LLM overlaps host work with the device
at large batch and not at batch 1, so one pair of constants cannot fit both.

## Nemotron 3 Nano : gpt-oss-20b : Qwen3-30B-A3B on one H200

8K in, 16K out, formats as published, one stack for all ({HEADLINE_STACK}), one cap on sequences. Published:
{published}, without batch, KV format or rate. At the cap chosen beforehand, {CAP}: **{ours}** with Qwen3's KV in fp8.
Tokens/s (ratio) by cap:

{headline_table(curves)}

![tokens per second and ratios against the cap](serving.svg)

The ratio depends on the cap and on Qwen3's KV format more than on the chip: it checks the shape only.
"""


def _worst(rows: Sequence[Measured], model: str) -> float:
    """The greatest error of a model, percent."""
    return 100 * max(row.error for row in rows if row.row["model"] == model)


def _shared(left: Sequence[Measured], right: Sequence[Measured]) -> int:
    """How many figures two datasets have in common."""

    def keys(rows: Sequence[Measured]) -> set[tuple[str, ...]]:
        names = ("machine", "model", "isl", "osl", "batch", "tokens_per_second")
        return {tuple(row.row[name] for name in names) for row in rows}

    return len(keys(left) & keys(right))


def run(folder: Path, progress: Progress = lambda name: None) -> Path:
    """Predict every row and write serving.md, serving.csv and serving.svg into `folder`."""
    of = [d for d in datasets() if d.kind in KINDS]
    rows = predict_all(of, progress)
    others = errors_left_out(rows, of)
    curves = headline()
    figure(curves, folder / "serving.svg")
    write_whole(folder / "serving.csv", csv_text(rows, others))
    path = folder / "serving.md"
    write_whole(path, report(rows, others, curves) + "\n" + under_load())
    return path
