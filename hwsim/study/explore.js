// The page of a study: controls, one figure in four views, and the table of all points. A drag over points chooses them;
// what is chosen is marked in the table and stays marked in the other views.

const { axes, metrics, kinds, points } = data;
const SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "currentColor"];
const SHAPES = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "triangle-left"];
const VIEWS = { lines: "Any axes", pareto: "Pareto front", roofline: "Roofline", ops: "Time by op" };
const MOST_BARS = 60, MOST_PANELS = 12, MOST_NAMES = 24;

points.forEach((p, i) => { p.id = i; });
const varied = axes.filter((a) => a.labels.length > 1);
const axisAt = (path) => axes.findIndex((a) => a.path === path);
const metricAt = (name) => metrics.findIndex((m) => m.name === name);
const has = (name) => points.some((p) => p.m[metricAt(name)] != null);
const label = (p, a) => axes[a].labels[p.at[a]];
const plain = (name) => name.split(" (")[0];

const DEFAULTS = {
  view: data.start.view, x: data.start.x || "dram_bytes_per_token", y: "tokens_per_second", series: data.start.series, panel: data.start.panel,
  cost: has("energy_joules_per_token") ? "energy_joules_per_token" : "dram_bytes_per_token", gain: "tokens_per_second_per_sequence",
  bars: "time", sort: "", filter: "", chosen: "",
};
for (const a of varied) DEFAULTS[`only.${a.path}`] = "";
const state = { ...DEFAULTS };

/** Read the view from the address; a name or value that the page does not have is left at its default. */
function readState() {
  const said = fromHash(), names = [...metrics.map((m) => m.name), ...axes.map((a) => a.path)];
  const allowed = { view: Object.keys(VIEWS), x: names, y: metrics.map((m) => m.name), cost: names.slice(0, metrics.length), gain: names.slice(0, metrics.length), bars: ["time", "share"] };
  for (const [key, start] of Object.entries(DEFAULTS)) {
    const value = said[key] ?? start;
    const known = key in allowed ? allowed[key].includes(value)
      : key === "series" || key === "panel" ? value === "" || axisAt(value) >= 0
      : key.startsWith("only.") ? value === "" || Number(value) < axes[axisAt(key.slice(5))].labels.length : true;
    state[key] = known ? value : start;
  }
  chosen = unpacked(state.chosen);
}

/** Chosen points as text for the address: `0-5.9`. */
function packed(ids) {
  const sorted = [...ids].sort((a, b) => a - b), runs = [];
  for (const id of sorted) {
    const last = runs.at(-1);
    if (last && last[1] === id - 1) last[1] = id;
    else runs.push([id, id]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(".");
}

function unpacked(text) {
  const ids = new Set();
  for (const run of text ? text.split(".") : []) {
    const [a, b = a] = run.split("-").map(Number);
    for (let id = a; id <= Math.min(b, points.length - 1); id++) ids.add(id);
  }
  return ids;
}

let chosen = new Set(), view = null, drawing = 0;

/** The points that the `only` lists let through. */
function kept() {
  const wanted = varied.map((a) => [axisAt(a.path), state[`only.${a.path}`]]).filter(([, v]) => v !== "");
  return points.filter((p) => wanted.every(([a, v]) => p.at[a] === Number(v)));
}

/** The whole point, in words and exact numbers. */
function about(p) {
  const pairs = axes.map((a, i) => [plain(a.name), label(p, i)]);
  if (p.status !== "simulated") pairs.push(["status", p.status]);
  metrics.forEach((m, i) => pairs.push([m.label, p.m[i]]));
  if (p.status === "simulated") {
    const share = (parts) => Object.entries(parts).sort((a, b) => b[1] - a[1]).map(([k, v]) => `${k} ${(100 * v).toFixed(1)} %`).join(", ");
    const formats = Object.entries(p.formats).map(([k, v]) => `${k} ${typeof v === "object" && v ? Object.entries(v).map((e) => e.join("=")).join(",") : v}`);
    pairs.push(["machine", p.machine], ["formats", formats.join(", ")], ["limited by", p.limit], ["op limits", p.limits],
      ["busy", share(p.busy)],
      ["time by cause", share(p.stalls)], ["known as", share(p.provenance)], ["fits in memory", p.fits ? "yes" : "no"]);
    const total = p.ops.reduce((sum, [, t]) => sum + t, 0);
    pairs.push(["time by op", share(Object.fromEntries(p.ops.map(([k, t]) => [kinds[k].name, t / total])))]);
    p.notes.forEach((n) => pairs.push(["note", data.notes[n]]));
  }
  pairs.push(["error", p.error]);
  return pairs;
}

const figure = el("div", { class: "figure", id: "figure" });
const says = el("p", { class: "soft", id: "says", role: "status" });
const controls = el("div", { class: "controls" });
const details = el("section", { id: "details", "aria-live": "polite" });

/** The settings of a figure that put points side by side: value of x and y, series, panel, and what joins lines. */
function rowsOf(shownPoints, xs, ys) {
  const value = (p, name) => {
    const m = metricAt(name);
    if (m >= 0) return p.m[m];
    const a = axisAt(name);
    return axes[a].numbers ? axes[a].numbers[p.at[a]] : label(p, a);
  };
  const s = axisAt(state.series), f = axisAt(state.panel);
  const used = new Set([xs, ys, state.series, state.panel].map(axisAt));
  return shownPoints.map((p) => ({
    role: "point", id: p.id, x: value(p, xs), y: value(p, ys), s: s < 0 ? "" : label(p, s), f: f < 0 ? "" : `${plain(axes[f].name)} ${label(p, f)}`,
    si: s < 0 ? 0 : p.at[s], fi: f < 0 ? 0 : p.at[f], hollow: p.status === "predicted", misfit: p.fits === false,
    g: axes.map((_, a) => (used.has(a) ? "" : p.at[a])).join(" "), k: axisAt(xs) < 0 ? p.id : p.at[axisAt(xs)], cap: p.cap ?? null, roof: p.roof,
  })).filter((r) => r.x != null && r.y != null && (typeof r.x !== "number" || isFinite(r.x)));
}

/** How an axis of the figure is scaled: names in the order of the study, numbers by powers where they span much. */
function scaleOf(name, rows, field) {
  const a = axisAt(name), title = a >= 0 ? axes[a].name : metrics[metricAt(name)].label;
  if (a >= 0 && !axes[a].numbers) return { type: "nominal", title, sort: axes[a].labels, axis: { labelAngle: axes[a].labels.some((l) => l.length > 8) ? -30 : 0, labelLimit: 260 } };
  const numbers = rows.map((r) => r[field]), low = Math.min(...numbers), high = Math.max(...numbers);
  const log = low > 0 && high >= 8 * low;
  const values = a >= 0 ? { values: [...new Set(numbers)].sort((x, y) => x - y) } : log ? { values: decades(low / 1.5, high * 1.5) } : { tickCount: 6 };
  const scale = log ? { type: "log", nice: false, padding: 12 } : { type: "linear", zero: field === "y" && low >= 0, nice: true, padding: field === "x" ? 12 : 0 };
  return { type: "quantitative", title, scale, axis: { format: name.startsWith("run.") && high < 1e5 ? "," : "~s", ...values } };
}

/** Ticks of a logarithmic axis: powers of ten, with 2 and 5 between where there are few. */
function decades(low, high) {
  const steps = high < 1000 * low ? [1, 2, 5] : [1], found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) for (const m of steps) found.push(Number(`${m}e${e}`));
  return found.filter((v) => v >= low && v <= high);
}

/** Points that no other beats in both metrics, panel by panel, among those that fit in memory. */
function fronts(rows, lowX, lowY) {
  const all = [];
  for (const f of new Set(rows.map((r) => r.fi))) {
    const sorted = rows.filter((r) => r.fi === f && !r.misfit).sort((a, b) => (lowX ? a.x - b.x : b.x - a.x) || (lowY ? a.y - b.y : b.y - a.y));
    let best = lowY ? Infinity : -Infinity;
    for (const r of sorted) if (lowY ? r.y < best : r.y > best) { best = r.y; all.push(r); }
  }
  return all;
}

/** One panel per value, side by side as far as the width allows. */
function panelled(layer, rows, width, extra) {
  const panels = [...new Set(rows.map((r) => r.f))].length;
  const across = panels < 2 ? 1 : width > 1000 && panels > 2 && panels !== 4 ? 3 : width > 620 ? 2 : 1;
  const inner = Math.max(180, Math.floor((width - 80) / across) - 24), height = Math.min(panels > 1 ? 280 : 440, Math.max(200, inner * 0.6));
  const order = [...new Set([...rows].sort((a, b) => a.fi - b.fi).map((r) => r.f))]; // a stable sort: the order of the study
  const top = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", params: [{ name: "chosen", value: null }], data: { values: rows }, ...extra };
  if (panels < 2) return { ...top, width: inner, height, layer };
  return { ...top, facet: { field: "f", type: "nominal", title: null, sort: order, header: { labelAnchor: "start" } }, columns: across, spacing: 24, spec: { width: inner, height, layer } };
}

/** Colour, shape and legend of the series. */
function looks(rows, width) {
  const s = axisAt(state.series);
  if (s < 0) return { color: { value: SERIES[0] }, shape: { value: "circle" } };
  const present = [...new Set(rows.map((r) => r.si))].sort((a, b) => a - b), domain = present.map((i) => axes[s].labels[i]);
  const legend = { title: plain(axes[s].name), orient: "top", direction: "horizontal", columns: Math.max(1, Math.floor(width / Math.max(110, 8 * Math.max(...domain.map((l) => l.length)) + 40))), symbolStrokeWidth: 2 };
  const by = (range) => ({ field: "s", type: "nominal", scale: { domain, range: present.map((i) => range[i % range.length]) }, legend });
  return { color: by(SERIES), shape: by(SHAPES) };
}

function scatter(shownPoints, width, xs, ys) {
  const rows = rowsOf(shownPoints, xs, ys), { color, shape } = looks(rows, width);
  const x = { field: "x", ...scaleOf(xs, rows, "x") }, y = { field: "y", ...scaleOf(ys, rows, "y") };
  const faded = { condition: { test: "chosen === null || chosen[datum.id]", value: 1 }, value: 0.15 };
  const brush = { name: "brush", select: { type: "interval", resolve: "global", mark: { fill: "currentColor", fillOpacity: 0.08, stroke: "currentColor", strokeOpacity: 0.5 } } };
  const marks = {
    mark: { type: "point", filled: true, size: 60, tooltip: true }, params: x.type === "nominal" || y.type === "nominal" ? [] : [brush],
    transform: [{ filter: "!datum.hollow" }], encoding: { x, y, color, shape, opacity: faded },
  };
  const hollow = { mark: { type: "point", filled: false, size: 60, strokeWidth: 1.6, tooltip: true }, transform: [{ filter: "datum.hollow" }], encoding: { x, y, color, shape, opacity: faded } };
  const misfit = { transform: [{ filter: "datum.misfit" }], mark: { type: "point", shape: "circle", size: 190, stroke: "currentColor", strokeWidth: 1, strokeDash: [2, 2] }, encoding: { x, y, opacity: faded } };
  return { rows, x, y, color, marks: [...(rows.some((r) => r.misfit) ? [misfit] : []), ...(rows.some((r) => r.hollow) ? [hollow] : []), marks], faded };
}

/** The roofs of the machines of one panel: lines of the memory and of each rate of the dot array, with their names. */
function roofLines(f, rows, left, right, bottom, highest) {
  const roofs = [...new Set(rows.map((r) => r.roof))].map((i) => data.roofs[i]), bands = [...new Set(roofs.map((r) => r.bandwidth))].filter(Boolean).sort((a, b) => a - b);
  const peaks = new Map(), out = [], fi = rows[0].fi;
  for (const r of roofs) for (const [name, rate] of r.peaks) if (rate) peaks.set(rate, new Set([...(peaks.get(rate) || []), name]));
  bands.forEach((b, i) => {
    const start = Math.max(left, bottom / b), end = Math.min(right, highest / b), at = Math.sqrt(start * end);
    out.push({ role: "memory", x: start, y: start * b, g: b }, { role: "memory", x: end, y: end * b, g: b });
    if (bands.length < 4 || i === bands.length - 1) out.push({ role: "rate", x: at, y: at * b, label: bands.length < 4 ? `${Number((b / 1e12).toPrecision(3))} TB/s` : `${Number((bands[0] / 1e12).toPrecision(3))} to ${Number((b / 1e12).toPrecision(3))} TB/s` });
  });
  let above = Infinity; // names that would touch are left out
  for (const [rate, names] of [...peaks].sort((a, b) => b[0] - a[0])) {
    const [first, ...more] = names, room = Math.log(above / rate) >= 0.075 * Math.log((2 * highest) / bottom);
    if (room) above = rate;
    out.push({ role: "dot", x: Math.max(left, rate / Math.max(...bands)), y: rate, g: rate }, { role: "dot", x: right, y: rate, g: rate, label: room ? first + (more.length ? ` + ${more.length} more` : "") : "" });
  }
  return out.map((r) => ({ f, fi, ...r }));
}

/**
 * Tell lines of one colour in one panel apart, by the axes that the figure does not show: each of their values gets panels
 * of its own where these are few and panels are wanted, else its name at the end of its line (`end`). What is left to say.
 */
function tellApart(rows) {
  const used = new Set([state.x, state.y, state.series, state.panel].map(axisAt));
  const apart = varied.map((a) => axisAt(a.path)).filter((a) => !used.has(a) && new Set(rows.map((r) => points[r.id].at[a])).size > 1);
  if (!apart.length) return "";
  const of = (r) => apart.map((a) => label(points[r.id], a)).join(" · "), last = new Map();
  if (state.panel && new Set(rows.map((r) => `${r.f}|${of(r)}`)).size <= MOST_PANELS) {
    for (const r of rows) r.f += `, ${of(r)}`;
    return "";
  }
  for (const r of rows) {
    const key = [r.fi, r.si, r.g].join("|");
    if (!last.has(key) || last.get(key).k < r.k) last.set(key, r);
  }
  if (last.size <= MOST_NAMES) for (const r of last.values()) r.end = of(r);
  return `lines and marks of one colour differ in ${apart.map((a) => plain(axes[a].name)).join(", ")}`;
}

const BUILD = {
  lines(shownPoints, width) {
    const { rows, x, y, color, marks } = scatter(shownPoints, width, state.x, state.y);
    const line = { mark: { type: "line", strokeWidth: 1.4, clip: true }, encoding: { x, y, color, detail: { field: "g" }, order: { field: "k", type: "quantitative" } } };
    const note = tellApart(rows);
    const names = { transform: [{ filter: "datum.end" }], mark: { type: "text", align: "right", dx: -4, dy: -8, fontSize: 11, limit: 180 }, encoding: { x, y, color, text: { field: "end" } } };
    const drawn = axisAt(state.x) >= 0 && axes[axisAt(state.x)].numbers ? [line, ...(rows.some((r) => r.end) ? [names] : [])] : [];
    return { rows, note, spec: panelled([...drawn, ...marks], rows, width) };
  },
  pareto(shownPoints, width) {
    const { rows, x, y, marks } = scatter(shownPoints, width, state.cost, state.gain);
    const low = (name) => metrics[metricAt(name)].better !== "high";
    const front = fronts(rows, low(state.cost), low(state.gain)), on = new Set(front.map((r) => r.id));
    for (const r of rows) r.front = on.has(r.id);
    const edge = { transform: [{ filter: "datum.front" }], mark: { type: "line", strokeWidth: 1.2, color: "currentColor", interpolate: "step-after" }, encoding: { x, y, order: { field: "x", type: "quantitative" } } };
    return { rows, front: on, spec: panelled([edge, ...marks], rows, width) };
  },
  roofline(shownPoints, width) {
    const { rows, x, y, marks, faded, color } = scatter(shownPoints.filter((p) => p.roof != null), width, "macs_per_dram_byte", "macs_per_second");
    if (!rows.length) return { rows, spec: null };
    const roofs = [...new Set(rows.map((r) => r.roof))].map((i) => data.roofs[i]), rates = roofs.flatMap((r) => r.peaks.map(([, rate]) => rate)).filter(Boolean);
    const highest = Math.max(...rates, ...rows.map((r) => r.y)), bottom = Math.min(...rows.map((r) => r.y)) / 2, left = Math.min(...rows.map((r) => r.x)) / 2;
    const ridges = roofs.filter((r) => r.bandwidth).map((r) => Math.max(...r.peaks.map(([, rate]) => rate)) / r.bandwidth);
    const right = Math.max(Math.max(...rows.map((r) => r.x)) * 2, ...ridges.map((x) => x * 8));
    const lines = [...new Set(rows.map((r) => r.f))].flatMap((f) => roofLines(f, rows.filter((r) => r.f === f), left, right, bottom, highest));
    const log = (axis, domain) => ({ ...axis, scale: { type: "log", domain, nice: false }, axis: { format: "~s", values: decades(...domain).filter((v) => domain[1] < 1000 * domain[0] || Number.isInteger(Math.log10(v))) } });
    const X = log(x, [left, right]), Y = log(y, [bottom, highest * 2]);
    const line = (role, dash) => ({ transform: [{ filter: `datum.role === '${role}'` }], mark: { type: "line", color: "currentColor", opacity: 0.55, strokeWidth: 1.2, strokeDash: dash, clip: true }, encoding: { x: X, y: Y, detail: { field: "g" } } });
    const words = (role, mark) => ({ transform: [{ filter: `datum.role === '${role}' && datum.label` }], mark: { type: "text", fontSize: 11, opacity: 0.85, align: "right", ...mark }, encoding: { x: X, y: Y, text: { field: "label" } } });
    const caps = { transform: [{ filter: "datum.cap != null" }], mark: { type: "tick", orient: "horizontal", thickness: 2, size: 14, clip: true }, encoding: { x: X, y: { ...Y, field: "cap" }, color, opacity: faded } };
    const layer = [line("memory", []), line("dot", [4, 3]), words("dot", { dy: -6, dx: -2 }), words("rate", { dx: -10, dy: -4 }), ...(rows.some((r) => r.cap !== null) ? [caps] : []),
      ...marks.map((m) => ({ ...m, transform: [{ filter: "datum.role === 'point'" }, ...(m.transform || [])], encoding: { ...m.encoding, x: X, y: Y } }))];
    return { rows, note: rows.some((r) => r.cap !== null) ? "a short bar above a mark is the roof of the server that limits it" : "", spec: panelled(layer, [...rows, ...lines], width) };
  },
  ops(shownPoints, width) {
    const all = shownPoints.filter((p) => p.ops && (!chosen.size || chosen.has(p.id))), drawn = all.slice(0, MOST_BARS);
    const differing = axes.map((_, a) => a).filter((a) => new Set(drawn.map((p) => p.at[a])).size > 1)
      .sort((a, b) => Math.max(...axes[a].labels.map((l) => l.length)) - Math.max(...axes[b].labels.map((l) => l.length))); // long names last: they are cut
    const name = (p) => differing.map((a) => label(p, a)).join(" · ") || p.name;
    const share = state.bars === "share", longest = Math.max(...drawn.map((p) => p.ops.reduce((sum, [, t]) => sum + t, 0)));
    const [unit, size] = [["s", 1], ["ms", 1e3], ["us", 1e6]].find(([, f]) => longest * f >= 1) || ["ns", 1e9];
    const rows = drawn.flatMap((p) => { const total = p.ops.reduce((s, [, t]) => s + t, 0); return p.ops.map(([k, t], j) => ({ id: p.id, name: name(p), kind: kinds[k].name, order: k, t: share ? (100 * t) / total : t * size })); });
    const present = kinds.filter((k) => rows.some((r) => r.kind === k.name && r.t > 0));
    const widest = Math.min(width * 0.45, 24 + 7 * Math.max(4, ...drawn.map((p) => name(p).length)));
    return {
      rows, unit: share ? "share of a step, %" : `time, ${unit}`, note: all.length > drawn.length ? `the first ${drawn.length} of ${all.length} bars are drawn: narrow the choice to see the others` : "",
      spec: {
        $schema: "https://vega.github.io/schema/vega-lite/v6.json", params: [{ name: "chosen", value: null }], data: { values: rows }, width: Math.max(160, width - widest - 30), height: { step: 19 },
        mark: { type: "bar", tooltip: true, height: { band: 0.85 } },
        encoding: {
          y: { field: "name", type: "nominal", sort: [...new Set(drawn.map(name))], title: differing.map((a) => plain(axes[a].name)).join(" · ") || null, axis: { labelLimit: widest, grid: false, titleAngle: 0, titleAlign: "right", titleX: -8, titleY: -10 } },
          x: { field: "t", type: "quantitative", title: share ? "share of a step, %" : `time of a step, ${unit}`, axis: { tickCount: 6, orient: "top" }, scale: share ? { domain: [0, 100] } : {} },
          color: { field: "kind", type: "nominal", scale: { domain: present.map((k) => k.name), range: present.map((k) => k.colour) }, legend: { title: null, orient: "top", columns: Math.max(2, Math.floor((width - widest) / 140)), symbolType: "square" } },
          order: { field: "order", type: "quantitative" },
        },
      },
    };
  },
};

function drawControls() {
  const set = (key) => (value) => { state[key] = value; refresh(); };
  const byName = (list) => list.map((m) => [m.name, m.label]);
  const withValues = metrics.filter((m) => has(m.name)), axisOptions = varied.map((a) => [a.path, a.name]);
  const fields = {
    lines: () => [chooser("Across", [...axisOptions, ...byName(withValues)], state.x, set("x")), chooser("Up", byName(withValues), state.y, set("y"))],
    pareto: () => [chooser("Across", byName(withValues), state.cost, set("cost")), chooser("Up", byName(withValues), state.gain, set("gain"))],
    roofline: () => [],
    ops: () => [chooser("Bars", [["time", "time"], ["share", "share of a step"]], state.bars, set("bars"))],
  }[state.view]();
  if (state.view !== "ops") fields.push(chooser("Series", [["", "none"], ...axisOptions], state.series, set("series")), chooser("Panels", [["", "none"], ...axisOptions], state.panel, set("panel")));
  const only = varied.map((a) => chooser(plain(a.name), [["", "all"], ...a.labels.map((l, i) => [String(i), l])], state[`only.${a.path}`], set(`only.${a.path}`)));
  const views = Object.entries(VIEWS).map(([name, words]) => el("label", {}, el("input", { type: "radio", name: "view", value: name, checked: state.view === name, change: () => { state.view = name; refresh(); } }), words));
  const focused = document.activeElement?.closest?.("label.field, .views label")?.textContent && document.activeElement;
  const key = focused && controls.contains(focused) ? [...controls.querySelectorAll("select, input, button")].indexOf(focused) : -1;
  controls.replaceChildren(
    el("fieldset", { class: "views", role: "radiogroup", "aria-label": "view" }, views), el("fieldset", {}, el("legend", {}, "Figure"), fields),
    el("fieldset", {}, only.length ? el("legend", {}, "Only") : "", only,
      el("button", { type: "button", id: "clear", disabled: !chosen.size, click: () => choose(new Set()) }, "Choose no points"),
      el("button", { type: "button", id: "reset", click: () => { Object.assign(state, DEFAULTS); chosen = new Set(); refresh(); } }, "Start again")));
  if (key >= 0) controls.querySelectorAll("select, input, button")[key]?.focus();
}

function choose(ids) {
  chosen = ids;
  state.chosen = packed(ids);
  mark();
}

/** Show the choice in the figure, the table and the address, without drawing the figure again. */
function mark() {
  toHash(Object.fromEntries(Object.entries(state).filter(([k, v]) => v !== DEFAULTS[k])));
  const button = document.getElementById("clear");
  if (button) button.disabled = !chosen.size;
  if (state.view === "ops") drawFigure();
  else view?.signal("chosen", chosen.size ? Object.fromEntries([...chosen].map((id) => [id, true])) : null).run();
  table.update();
  say();
}

let note = "";
function say() {
  const n = kept().length, parts = [`${n.toLocaleString("en")} of ${points.length.toLocaleString("en")} points in the figure`];
  if (points.length < data.size) parts.push(`${(data.size - points.length).toLocaleString("en")} of the grid not simulated yet`);
  if (chosen.size) parts.push(`${chosen.size.toLocaleString("en")} chosen`);
  if (note) parts.push(note);
  says.textContent = parts.join("; ") + (state.view === "ops" ? "." : ". Drag over points to choose them; a dashed ring does not fit in memory" + (points.some((p) => p.status === "predicted") ? "; hollow marks are predicted." : "."));
}

async function drawFigure() {
  const mine = ++drawing, built = BUILD[state.view](kept(), figure.clientWidth);
  note = built.note || "";
  const left = state.view === "ops" ? 0 : kept().length - built.rows.length;
  if (left) note = [`${left.toLocaleString("en")} of them without a value`, note].filter(Boolean).join("; ");
  if (!built.rows.length || !built.spec) {
    view?.finalize();
    view = null;
    figure.replaceChildren(el("p", { class: "soft" }, "No point has a value on these axes."));
    say();
    return;
  }
  const old = view, node = el("div");
  const next = await draw(node, built.spec, (datum) => {
    const p = points[datum.id];
    return p && (datum.kind ? [["op", datum.kind], [built.unit, datum.t], ...about(p)] : about(p));
  });
  if (mine !== drawing) return next.finalize();
  old?.finalize();
  view = next;
  figure.replaceChildren(node);
  figure.dataset.drawn = String(mine);
  if (chosen.size) view.signal("chosen", Object.fromEntries([...chosen].map((id) => [id, true]))).run();
  let timer;
  try {
    view.addSignalListener("brush", (_, range) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const inside = ([a, b], v) => v >= Math.min(a, b) && v <= Math.max(a, b);
        const ids = range.x && range.y ? built.rows.filter((r) => inside(range.x, r.x) && inside(range.y, r.y)).map((r) => r.id) : [];
        choose(new Set(ids));
      }, 60);
    });
  } catch { /* a figure over names has no brush */ }
  view.addEventListener("click", (_, item) => {
    const p = item?.datum && points[item.datum.id];
    if (p) details.replaceChildren(el("h2", {}, "One point"), whole(about(p)));
  });
  say();
}

const COLUMNS = [
  ...axes.map((a, i) => ({ name: a.path, label: a.name, text: !a.numbers, of: (p) => label(p, i), key: (p) => (a.numbers ? a.numbers[p.at[i]] : p.at[i]) })),
  ...(points.every((p) => p.status === "simulated") ? [] : [{ name: "status", label: "status", text: true, of: (p) => p.status }]),
  ...metrics.map((m, i) => ({ name: m.name, label: m.label, of: (p) => p.m[i] })).filter((c) => has(c.name)),
  { name: "limited_by", label: "limited by", text: true, of: (p) => p.limit },
  { name: "fits", label: "fits", text: true, of: (p) => (p.fits == null ? null : p.fits ? "yes" : "no") },
  { name: "provenance", label: "time known as", text: true, of: (p) => (p.provenance ? Object.entries(p.provenance).map(([k, v]) => `${k} ${(100 * v).toFixed(0)} %`).join(", ") : null) },
  ...(points.some((p) => p.error) ? [{ name: "error", label: "error", text: true, long: true, of: (p) => p.error }] : []),
  ...(data.notes.length ? [{ name: "notes", label: "notes", text: true, long: true, of: (p) => p.notes?.map((n) => data.notes[n]).join("; ") || null }] : []),
];
const table = sortedTable(COLUMNS, {
  state, all: points.length, what: "points", changed: mark,
  rows: () => { const some = kept(); return chosen.size ? some.filter((p) => chosen.has(p.id)) : some; },
  picked: (p) => chosen.has(p.id),
  pick: (p, on) => { const ids = new Set(chosen); if (on) ids.add(p.id); else ids.delete(p.id); choose(ids); },
});

function refresh() {
  drawControls();
  mark();
  if (state.view !== "ops") drawFigure();
}

main.replaceChildren(controls, says, figure, details, el("h2", {}, "Points"), table.node);
readState();
refresh();
addEventListener("hashchange", () => { readState(); refresh(); });
onWidth(figure, drawFigure);
