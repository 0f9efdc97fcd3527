// The page of one run: its numbers, one figure in four views, and the table of its ops.

const { spans, servers } = data;
const colours = Object.fromEntries(data.kinds.map((k) => [k.name, k.colour]));
const VIEWS = { timeline: "Timeline", op: "Time by op", layer: "Time by layer", cause: "Time by cause" };
const MOST_BARS = 8000;
const layers = [...new Set(spans.map((s) => s.layer))].sort((a, b) => a - b);
const layerName = (l) => (l < 0 ? "outside" : String(l));
const DEFAULTS = { view: "timeline", rows: "server", layer: "", from: "", to: "", sort: "", filter: "" };
const state = { ...DEFAULTS };

spans.forEach((s, i) => { s.id = i; });
// One row of the table per op: its spans on all servers, from the first start to the last end.
const ops = [];
{
  const open = new Map();
  for (const s of [...spans].sort((a, b) => a.start - b.start)) {
    const key = `${s.layer} ${s.name}`;
    let op = open.get(key);
    if (!op || s.start > op.end + 1e-6 && op.servers.has(s.server)) {
      op = { id: ops.length, name: s.name, kind: s.kind, layer: s.layer, start: s.start, end: s.end, occupied: {}, tiles: 0, servers: new Set() };
      open.set(key, op);
      ops.push(op);
    }
    op.start = Math.min(op.start, s.start);
    op.end = Math.max(op.end, s.end);
    op.occupied[s.server] = (op.occupied[s.server] || 0) + s.occupied;
    op.tiles = Math.max(op.tiles, s.tiles);
    op.servers.add(s.server);
  }
}

function readState() {
  const said = fromHash();
  for (const [key, start] of Object.entries(DEFAULTS)) state[key] = said[key] ?? start;
  if (!(state.view in VIEWS)) state.view = "timeline";
  if (!["server", "layer"].includes(state.rows)) state.rows = "server";
  if (state.layer !== "" && !layers.includes(Number(state.layer))) state.layer = "";
  for (const key of ["from", "to"]) if (state[key] !== "" && !isFinite(Number(state[key]))) state[key] = "";
}

const figure = el("div", { class: "figure", id: "figure" });
const says = el("p", { class: "soft", id: "says", role: "status" });
const controls = el("div", { class: "controls" });
let view = null, drawing = 0;

/** The share of a span in which its tiles occupy the server. */
const busy = (s) => (s.end > s.start ? Math.min(1, s.occupied / (s.end - s.start)) : 1);

function about(d) {
  if (d.us != null) return [[VIEWS[state.view].split(" ").at(-1), d.name], ["time, us", d.us], ["share", `${((d.us / 1e4) / data.seconds).toFixed(2)} %`], ...(d.limited ? [["limited by", d.limited]] : []), ["ops", d.ops], ["bytes", d.bytes], ["MACs", d.macs]];
  const s = spans[d.id];
  return [["op", s.name], ["kind", s.kind.replaceAll("_", " ")], ["layer", layerName(s.layer)], ["server", s.server], ["from, us", s.start], ["to, us", s.end], ["occupied, us", s.occupied], ["busy", `${Math.round(100 * busy(s))} %`], ...Object.entries(s.waits).map(([cause, us]) => [`${cause.replaceAll("_", " ")}, us`, Number(us.toPrecision(6))]), ["tiles", s.tiles]];
}

/** The spans of the layer that is asked for, and the time that the figure shows. */
function asked() {
  const some = state.layer === "" ? spans : spans.filter((s) => s.layer === Number(state.layer));
  const low = state.from === "" ? Math.min(...some.map((s) => s.start)) : Number(state.from);
  const high = state.to === "" ? Math.max(...some.map((s) => s.end)) : Number(state.to);
  return { some: some.filter((s) => s.end >= low && s.start <= high), low, high: Math.max(high, low + 1e-6) };
}

function timeline(width) {
  const { some, low, high } = asked(), drawn = some.slice(0, MOST_BARS), byServer = state.rows === "server";
  const [unit, size] = high - low >= 2e4 ? ["ms", 1e-3] : ["us", 1];
  const rows = drawn.map((s) => ({ id: s.id, row: byServer ? s.server : layerName(s.layer), kind: s.kind.replaceAll("_", " "), busy: busy(s), a: Math.max(low, s.start) * size, b: Math.min(high, s.end) * size }));
  const present = [...new Set(drawn.map((s) => s.kind))], order = byServer ? servers : layers.map(layerName);
  return {
    note: `${drawn.length.toLocaleString("en")} of ${spans.length.toLocaleString("en")} spans drawn, each an op on a server; the paler, the less of the span the server is busy` + (drawn.length < some.length ? "; choose a layer to see the others" : ""),
    size,
    spec: {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", data: { values: rows }, width: Math.max(200, width - 110), height: { step: byServer ? 46 : layers.length > 30 ? 12 : 18 },
      params: [{ name: "brush", select: { type: "interval", encodings: ["x"], mark: { fill: "currentColor", fillOpacity: 0.1, stroke: "currentColor" } } }],
      mark: { type: "bar", tooltip: true, height: { band: 0.86 }, minBandSize: 1 },
      encoding: {
        x: { field: "a", type: "quantitative", title: `time, ${unit}`, scale: { domain: [low * size, high * size], nice: false }, axis: { orient: "top", tickCount: 8 } }, x2: { field: "b" },
        y: { field: "row", type: "nominal", sort: order, title: byServer ? null : "layer", axis: { grid: false } },
        opacity: { field: "busy", type: "quantitative", scale: { domain: [0, 1], range: [0.15, 1] }, legend: null },
        color: { field: "kind", type: "nominal", scale: { domain: present.map((k) => k.replaceAll("_", " ")), range: present.map((k) => colours[k]) }, legend: { title: null, orient: "bottom", columns: Math.max(2, Math.floor(width / 140)), symbolType: "square" } },
      },
    },
  };
}

function bars(width) {
  const rows = data.by[state.view], longest = Math.max(...rows.map((r) => r.us));
  const [unit, size] = longest >= 2e4 ? ["ms", 1e-3] : ["us", 1];
  const name = (r) => r.name.replaceAll("_", " "), widest = Math.min(width * 0.4, 24 + 7 * Math.max(...rows.map((r) => r.name.length)));
  return {
    note: "",
    spec: {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", data: { values: rows.map((r) => ({ ...r, label: name(r), t: r.us * size, share: `${((r.us / 1e4) / data.seconds).toFixed(1)} %` })) },
      width: Math.max(160, width - widest - 80), height: { step: 19 },
      encoding: { y: { field: "label", type: "nominal", sort: rows.map(name), title: null, axis: { labelLimit: widest, grid: false } } },
      layer: [
        { mark: { type: "bar", tooltip: true, height: { band: 0.85 } }, encoding: { x: { field: "t", type: "quantitative", title: `time, ${unit}`, axis: { orient: "top", tickCount: 6 } }, color: { field: "name", type: "nominal", scale: { domain: rows.map((r) => r.name), range: rows.map((r) => colours[r.name] || "#7c9fb8") }, legend: null } } },
        { mark: { type: "text", align: "left", dx: 4, fontSize: 11 }, encoding: { x: { field: "t", type: "quantitative" }, text: { field: "share" } } },
      ],
    },
  };
}

async function drawFigure() {
  const mine = ++drawing, built = state.view === "timeline" ? timeline(figure.clientWidth) : bars(figure.clientWidth), node = el("div");
  const next = await draw(node, built.spec, about);
  if (mine !== drawing) return next.finalize();
  view?.finalize();
  view = next;
  figure.replaceChildren(node);
  figure.dataset.drawn = String(mine);
  says.textContent = state.view !== "timeline" ? "" : `${built.note}. Drag along the time to look closer.` + (data.note ? ` Not all is drawn: ${data.note}.` : "");
  if (state.view !== "timeline") return;
  let timer;
  view.addSignalListener("brush", (_, range) => {
    clearTimeout(timer);
    if (!range.a || Math.abs(range.a[1] - range.a[0]) < 1e-9) return;
    timer = setTimeout(() => {
      [state.from, state.to] = range.a.map((t) => String(Number((t / built.size).toPrecision(8))));
      refresh();
    }, 400);
  });
}

function drawControls() {
  const set = (key) => (value) => { state[key] = value; state.from = state.to = ""; refresh(); };
  const views = Object.entries(VIEWS).map(([name, words]) => el("label", {}, el("input", { type: "radio", name: "view", value: name, checked: state.view === name, change: () => { state.view = name; refresh(); } }), words));
  const fields = state.view !== "timeline" ? [] : [
    chooser("Rows", [["server", "servers"], ["layer", "layers"]], state.rows, set("rows")),
    chooser("Layer", [["", "all"], ...layers.map((l) => [String(l), layerName(l)])], state.layer, set("layer")),
    el("button", { type: "button", id: "whole", disabled: state.from === "" && state.to === "", click: () => { state.from = state.to = ""; refresh(); } }, "Whole time"),
  ];
  const inside = controls.contains(document.activeElement) ? [...controls.querySelectorAll("select, input, button")].indexOf(document.activeElement) : -1;
  controls.replaceChildren(el("fieldset", { class: "views", role: "radiogroup", "aria-label": "view" }, views), el("fieldset", {}, fields));
  if (inside >= 0) controls.querySelectorAll("select, input, button")[inside]?.focus();
}

const table = sortedTable([
  { name: "layer", label: "layer", of: (o) => (o.layer < 0 ? null : o.layer) },
  { name: "name", label: "op", text: true, of: (o) => o.name },
  { name: "kind", label: "kind", text: true, of: (o) => o.kind.replaceAll("_", " ") },
  { name: "start", label: "start, us", of: (o) => o.start },
  { name: "time", label: "first start to last end, us", of: (o) => Number((o.end - o.start).toPrecision(12)) },
  ...servers.map((s) => ({ name: `occupied.${s}`, label: `${s} occupied, us`, of: (o) => o.occupied[s] ?? null })),
  { name: "tiles", label: "tiles", of: (o) => o.tiles },
], {
  state, all: ops.length, what: "ops", changed: () => { save(); table.update(); },
  rows: () => (state.layer === "" ? ops : ops.filter((o) => o.layer === Number(state.layer))),
});

function save() {
  toHash(Object.fromEntries(Object.entries(state).filter(([k, v]) => v !== DEFAULTS[k])));
}

function refresh() {
  drawControls();
  save();
  table.update();
  drawFigure();
}

main.replaceChildren(whole(data.numbers), controls, says, figure, el("h2", {}, "Ops"), table.node);
readState();
refresh();
addEventListener("hashchange", () => { readState(); refresh(); });
onWidth(figure, drawFigure);
