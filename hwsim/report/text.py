"""Results and lists as text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwsim.files.tables import bytes_text, seconds_text, table
from hwsim.result import Result, Row, Term, limits_text

if TYPE_CHECKING:
    from hwsim.arch import Arch
    from hwsim.formats.layout import Layout
    from hwsim.workload import Model


#: The name of the row of ops that belong to no layer.
OUTSIDE = "outside layers"
#: Times of layers that differ by at most this share of the first are one line of the table.
ALIKE = 0.001


def formats_text(formats: dict[str, Any]) -> str:
    """`weights experts=nvfp4, default=fp8, activations bf16`."""
    weights = formats["weights"]
    if isinstance(weights, dict) and "name" not in weights:
        weights = ", ".join(f"{c}={_name(f)}" for c, f in weights.items())
    return f"weights {_name(weights)}, activations {_name(formats['activations'])}"


def _name(form: Any) -> str:
    """The name of a format in a config: an own one is there with its whole definition."""
    return str(form["name"] if isinstance(form, dict) else form)


def result_text(result: Result, by: str | None = None, energy: bool = False) -> str:
    """One run: time, bound and limiting server, causes of the cycles above the bound, bytes, memory.

    by: a table of time by "op" or "layer" below. energy: each term of energy and area, with its source.
    """
    r = result
    clock = r.cycles / r.seconds
    mark = " (hypothetical machine)" if r.hypothetical else ""
    lines = [f"{r.name}, {formats_text(r.config['formats'])}, {r.machine}{mark}"]

    def say(key: str, value: str, rest: str = "") -> None:
        lines.append(f"  {key:<11} {value:<18} {rest}".rstrip())

    say("cycles", f"{r.cycles:,}", f"{seconds_text(r.seconds)} at {clock / 1e9:.4g} GHz")
    busy = ", ".join(f"{s} {100 * u:.1f} %" for s, u in r.utilization.items())
    busiest = max(r.utilization, key=lambda s: r.utilization[s], default=r.limited_by)
    more = "" if busiest == r.limited_by else "; refresh, rereads and padding count as busy, and not in the bound"
    say("bound", f"{r.bound_cycles:,}", f"{r.limited_by} (busy: {busy}{more})")
    faster = "; ops overlap, so the run can be faster" if r.cycles < r.roofline_cycles else ""
    say("roofline", f"{r.roofline_cycles:,}", f"sum of each op's own lower bound{faster}")
    say("over bound", f"{100 * r.over_bound:.2f} %", causes_text(r))
    if len(r.limits) > 1:
        say("op limits", f"{limits_text(r.limits)}: shares of the time, by the server that limits each op")
    if r.provenance:
        say("kernels", f"{provenance_text(r.provenance)}: shares of the time, by how it is known")
    if r.tokens_per_second:
        say(f"{unit_of(r)}s/s", f"{r.tokens_per_second:,.1f}")
    if r.distinct_experts is not None:
        say("experts", f"{r.distinct_experts:,.2f}", "expected distinct experts per layer; each is read in full")
    moved = ", ".join(f"{kind} {bytes_text(n)}" for kind, n in r.bytes.items() if n)
    beats = f"{bytes_text(r.dram_bytes)} transferred in whole beats"
    say("bytes", bytes_text(sum(r.bytes.values())), f"{moved}; {beats}" if moved else "nothing crosses the memory")
    say("MACs", f"{r.macs:,}")
    if r.memory:
        m = r.memory
        verdict = "fits" if m.fits else "DOES NOT FIT"
        held = {k: getattr(m, k) for k in ("weights", "kv", "state", "activations")}
        parts = ", ".join(f"{k} {bytes_text(n)}" for k, n in held.items() if n)
        say("memory", bytes_text(m.total), f"of {bytes_text(m.capacity)}: {verdict} ({parts})")
    say("tiling", r.tiling)
    say("refresh", r.config["machine"]["dram"]["refresh"]["kind"])
    lines += cost_lines(r, energy)
    lines += [f"  note        {note}" for note in r.notes]
    if by:
        rows = r.by_op if by == "op" else r.by_layer
        lines += ["", by_table(rows, by, r) if by == "op" else layers_table(rows, r)]
    return "\n".join(lines)


def unit_of(r: Result) -> str:
    """What `tokens_per_second` counts: tokens; samples of a graph."""
    return str(r.config.get("unit", "token"))


def cost_lines(r: Result, terms: bool = False) -> list[str]:
    """Energy per token (or of the run) and area, one line each; with `terms`, each term and its source below.

    An area without dot units says little about the machine, so the sum of the others is not printed.
    """
    if r.cost is None:
        return [f"  {'energy':<11} not counted for an FPGA: no published switching energy per LUT"]
    tokens = r.tokens_per_second * r.seconds if r.tokens_per_second else None
    lines, unknown = [], []
    for key, parts, share, unit, what in (
        ("energy", r.cost.energy, tokens or 1, "J", f"per {unit_of(r)}" if tokens else "of the run"),
        ("area", r.cost.area, 1, "mm2", "of the machine: units for each of its rates"),
    ):
        whole, without = terms_text(parts, share, unit), lacking(parts)
        dots = [term for term in parts if term.name.startswith("dot ")]
        if key == "area" and any(term.value is None for term in dots):
            whole, what = "-", f"no figure for {', '.join(without)}"
        if whole == "-" and not terms and (key == "energy" or all(term.value is None for term in dots)):
            unknown.append(key)
            continue
        lines.append(f"  {key:<11} {whole:<18} {what}" + ("" if terms else " (--energy)"))
        if terms:
            lines += [f"    {line}" for line in term_lines(parts, share)]
    if unknown:
        lines.append(f"  {'cost':<11} no public figures for the {' and the '.join(unknown)} of this machine (--energy)")
    return lines


def lacking(terms: Sequence[Term]) -> list[str]:
    """Names of the terms without a figure."""
    return list(dict.fromkeys(t.name for t in terms if t.value is None))


def terms_text(terms: Sequence[Term], share: float, unit: str) -> str:
    """The sum of the terms over `share`, after what it lacks: `without dram, static: 0.017 J`; `-`: none is known."""
    known, without = sum(t.value for t in terms if t.value is not None), lacking(terms)
    if not known and without:
        return "-"
    return (f"without {', '.join(without)}: " if without else "") + f"{known / share:.4g} {unit}"


def term_lines(terms: Sequence[Term], share: float) -> list[str]:
    """Each term over `share` with its source; below them the terms that have none, by what is missing."""
    lines = [f"{t.name:<28} {t.value / share:<10.4g} {t.source}" for t in terms if t.value is not None]
    for source in dict.fromkeys(t.source for t in terms if t.value is None):
        names = ", ".join(t.name for t in terms if t.value is None and t.source == source)
        lines.append(f"{'-':<28} {source} ({names})")
    return lines


def provenance_text(provenance: dict[str, float]) -> str:
    """`62 % measured, 38 % ideal`, the largest share first."""
    shares = sorted(((share, mark) for mark, share in provenance.items() if share), reverse=True)
    return ", ".join(f"{100 * share:.3g} % {mark}" for share, mark in shares)


def causes_text(result: Result) -> str:
    """What each cause adds, as a share of the bound, largest first; on cores, its share of the time."""
    if "memory" in result.stalls:
        shares = sorted(((n / result.cycles, cause) for cause, n in result.stalls.items() if n), reverse=True)
        return "time: " + ", ".join(f"{cause} {100 * share:.1f} %" for share, cause in shares)
    bound = result.bound_cycles
    causes = [(n / bound, cause) for cause, n in result.stalls.items() if cause != "busy" and n]
    shown = [f"{cause} {100 * share:.2f} %" for share, cause in sorted(causes, reverse=True)]
    return ", ".join(shown)


def by_table(rows: Sequence[Row], by: str, result: Result) -> str:
    """Where the time is spent, by op kind or by layer; the last line is the total."""
    body = []
    for r in rows:
        share = f"{100 * r.cycles / result.cycles:.1f}"
        limit = r.limited_by or "-"
        body.append([r.name, str(r.ops), f"{r.cycles:,}", share, limit, bytes_text(r.bytes), f"{r.macs:,}"])
    total = [sum(getattr(r, k) for r in rows) for k in ("ops", "cycles", "bytes", "macs")]
    ops, cycles, nbytes, macs = total
    body.append(["total", str(ops), f"{cycles:,}", "100.0", result.limited_by, bytes_text(nbytes), f"{macs:,}"])
    return table([by, "ops", "cycles", "%", "limited by", "bytes", "MACs"], body)


def layers_table(rows: Sequence[Row], result: Result) -> str:
    """Where the time is spent, by layer; layers of the same work and time share a line; the last line is the total."""
    body = []
    for group in alike(rows):
        ops, cycles, nbytes, macs = (sum(getattr(r, k) for r in group) for k in ("ops", "cycles", "bytes", "macs"))
        each = seconds_text(cycles / len(group) / result.cycles * result.seconds) if cycles else "0 s"
        shown = [each, f"{100 * cycles / result.cycles:.1f}", group[0].limited_by or "-", bytes_text(nbytes)]
        count = str(len(group)) if group[0].name != OUTSIDE else "-"
        body.append([_numbers([r.name for r in group]), count, str(ops), f"{cycles:,}", *shown, f"{macs:,}"])
    ops, cycles, nbytes, macs = (sum(getattr(r, k) for r in rows) for k in ("ops", "cycles", "bytes", "macs"))
    whole = [str(ops), f"{cycles:,}", "", "100.0", result.limited_by, bytes_text(nbytes)]
    body.append(["total", str(sum(r.name != OUTSIDE for r in rows)), *whole, f"{macs:,}"])
    found = table(["layer", "layers", "ops", "cycles", "each", "%", "limited by", "bytes", "MACs"], body)
    if len(body) <= len(rows):
        return (
            f"Layers of the same work whose times are within {100 * ALIKE:g} % share a line; --json has each.\n{found}"
        )
    return found


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of layers that do the same work in the same time, within `ALIKE`; in the order of the first of each group.

    A layer with a name of its own is alone.
    """
    groups: list[list[Row]] = []
    for row in rows:
        for group in groups if row.name.isdecimal() else ():
            first = group[0]
            same = (row.ops, row.bytes, row.macs, row.limited_by) == (
                first.ops,
                first.bytes,
                first.macs,
                first.limited_by,
            )
            if first.name.isdecimal() and same and abs(row.cycles - first.cycles) <= ALIKE * first.cycles:
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _numbers(names: Sequence[str]) -> str:
    """`0`, `1-31`, or `0, 2, 4, ..., 50`; a name as it is."""
    if len(names) == 1:
        return names[0]
    runs: list[list[int]] = []
    for number in map(int, names):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ", ".join(shown if len(shown) <= 5 else [*shown[:3], "...", shown[-1]])


def arch_table(machines: Sequence[Arch]) -> str:
    """One line per machine; those that cannot be bought are marked."""
    rows = []
    for machine in machines:
        s = machine.summary()
        ghz, gbps = float(s.clock_hz) / 1e9, float(s.bytes_per_second) / 1e9
        pairs = ", ".join(w if w == x else f"{w} x {x}" for w, x in s.formats)
        tmacs = f"{float(s.macs_per_second) / 1e12:,.4g}"
        known = f"{s.kernels} (hypothetical)" if machine.hypothetical else s.kernels
        rows.append([s.name, known, f"{ghz:.4g}", f"{gbps:,.5g}", tmacs, pairs])
    widest = max(len(row[-1]) for row in rows)
    rows = [[*row[:-1], row[-1].ljust(widest)] for row in rows]
    heads = ["machine", "kernels", "GHz", "GB/s", "TMAC/s", "formats, or weights x activations".ljust(widest)]
    return table(heads, rows, left=2)


def yaml_text(config: dict[str, Any]) -> str:
    """Plain data as YAML, with its keys in their given order."""
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)


def model_table(models: Sequence[Model]) -> str:
    """One line per model."""
    rows = []
    for m in models:
        counts = f"{m.total / 1e9:,.3f}", f"{m.active_with_head / 1e9:,.3f}", f"{m.kv_elements_per_token:,}"
        rows.append([m.name, str(len(m.layers)), *counts])
    return table(["model", "layers", "parameters, 1e9", "active with head, 1e9", "KV elements per token"], rows)


def model_text(model: Model) -> str:
    """One model as a model file, then its elements by weight class, our totals and the published total as comments."""
    rows = [[name, f"{count:,}"] for name, count in model.parameters()]
    rows.append(["total", f"{model.total:,}"])
    rows.append(["active, head included", f"{model.active_with_head:,}"])
    if model.mtp:
        rows.append(["multi-token-prediction block", f"{model.mtp_parameters():,}"])
    if model.published_total:
        rows.append(["published total", f"{model.published_total:,.0f}"])
    counts = table(["weight class", "elements"], rows)
    return yaml_text(model.config()) + "\n".join(f"# {line}".rstrip() for line in counts.splitlines())


def model_counts(model: Model) -> dict[str, Any]:
    """The counts of a model as plain data: elements of weights, caches and states."""
    return {
        "parameters": dict(model.parameters()),
        "total": model.total,
        "active_with_head": model.active_with_head,
        "active_with_embedding": model.active_with_embedding,
        "mtp": model.mtp_parameters(),
        "kv_elements_per_token": model.kv_elements_per_token,
        "ssm_state_elements": model.ssm_state_elements,
        "conv_state_elements": model.conv_state_elements,
    }


def layout_dict(f: Layout) -> dict[str, Any]:
    """A layout as plain data."""
    return {
        "name": f.name,
        "kind": f.kind,
        "element": f.element,
        "block": f.block,
        "bits_per_value": float(f.bits_per_value),
        "record_bits": f.record_bits,
        "row_scale_bytes": f.row_scale_bytes,
        "tensor_scale_bytes": f.tensor_scale_bytes,
    }


def format_table(layouts: Sequence[Layout]) -> str:
    """One line per format."""
    rows = []
    for f in layouts:
        sizes = f"{float(f.bits_per_value):g}", str(f.record_bits), f"{f.nbytes(4096, 4096):,}"
        rows.append([f.name, f.kind, f.element, str(f.block), *sizes])
    header = ["format", "kind", "element", "block", "bits/value", "record bits", "bytes of 4096 x 4096"]
    return table(header, rows, left=3)
