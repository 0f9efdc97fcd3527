"use strict";
// Parts that the page of a study and the page of one run share. Text from files reaches the page only as text nodes and
// attributes, never as HTML. Colours of axes are `currentColor`, so that light, dark and paper need no second drawing.

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");

/** An element with attributes and children; a child that is no element becomes text; handlers are functions. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((c) => c != null));
  return node;
}

/** A number for a reader: whole numbers in full, others with six digits, and powers of ten where it would be long. */
function shown(n) {
  if (n == null) return "-";
  if (typeof n !== "number") return String(n);
  const size = Math.abs(n);
  if (Number.isInteger(n) && size < 1e15) return n.toLocaleString("en");
  if (n !== 0 && (size < 1e-6 || size >= 1e12)) return n.toExponential(4);
  return n.toLocaleString("en", { maximumSignificantDigits: 6 });
}

/** What the address says after `#`, as an object of texts. */
function fromHash() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** Put the view into the address, so that a link to the page opens it. */
function toHash(state) {
  const text = "#" + new URLSearchParams(Object.entries(state).filter(([, v]) => v !== "" && v != null));
  if (text !== location.hash) history.replaceState(null, "", text);
}

/** A labelled list to choose from; options: [value, text] pairs. */
function chooser(label, options, value, choose) {
  const list = el("select", { change: () => choose(list.value) }, options.map(([v, t]) => el("option", { value: v }, t)));
  list.value = value;
  return el("label", { class: "field" }, label, list);
}

/** Every part of a point or op in words: [name, value] pairs as a list of definitions. */
function whole(pairs) {
  const known = pairs.filter(([, v]) => v != null && v !== "");
  return el("dl", { class: "whole" }, known.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, shown(v))]));
}

const tip = el("div", { class: "tip", role: "tooltip", hidden: true });
document.body.append(tip);

/** Show `pairs` beside the pointer; nothing hides the box. */
function showTip(event, pairs) {
  tip.hidden = !pairs;
  if (!pairs) return;
  tip.replaceChildren(whole(pairs));
  const { width, height } = tip.getBoundingClientRect();
  const x = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4))}px`;
}

const CONFIG = {
  background: null,
  font: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: "currentColor", titleColor: "currentColor", domainColor: "currentColor", tickColor: "currentColor",
    gridColor: "currentColor", gridOpacity: 0.13, domainOpacity: 0.6, tickOpacity: 0.6, titleFontWeight: "normal",
    labelFontSize: 12, titleFontSize: 13, labelOverlap: "greedy", labelSeparation: 4,
  },
  legend: { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 12, labelLimit: 400, titleFontSize: 12 },
  header: { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 12, labelFontWeight: "bold", labelLimit: 600 },
  title: { color: "currentColor" },
  text: { color: "currentColor" },
  rule: { color: "currentColor" },
};

/** Draw a figure; `about` of an item's datum gives the pairs of its tip. Resolves to Vega's view. */
async function draw(node, spec, about) {
  const { view } = await vegaEmbed(node, spec, {
    actions: false, renderer: "svg", ast: true, config: CONFIG,
    tooltip: (handler, event, item, value) => showTip(event, value && item ? about(item.datum) : null),
  });
  return view;
}

/** Call `again` when the width of a node has changed, at most once in a while. */
function onWidth(node, again) {
  let width = node.clientWidth, timer;
  new ResizeObserver(() => {
    if (Math.abs(node.clientWidth - width) < 2) return;
    width = node.clientWidth;
    clearTimeout(timer);
    timer = setTimeout(again, 150);
  }).observe(node);
}

/**
 * A table that sorts by a click on a heading, with the rows that contain every word of a filter.
 *
 * columns: {name, label, of(row) -> number or text, text: whether it is text, long}. options: rows(), most: rows drawn
 * at once; state: {sort, filter}, changed(): called after either changes; pick(row, on), picked(row): a box per row.
 */
function sortedTable(columns, options) {
  const { state, most = 1000 } = options;
  const body = el("tbody"), count = el("p", { class: "soft", role: "status", id: "rows" });
  const heads = columns.map((c) => {
    const sort = () => {
      state.sort = state.sort === c.name ? "-" + c.name : state.sort === "-" + c.name ? "" : c.name;
      options.changed();
    };
    return el("th", { scope: "col", class: c.text ? "text" : null, "data-column": c.name }, el("button", { type: "button", click: sort }, c.label));
  });
  const box = options.pick ? [el("th", { scope: "col", class: "text pick", "aria-label": "chosen" })] : [];
  const search = el("input", {
    type: "search", size: 28, value: state.filter, placeholder: "words, all of which a row has",
    input: () => { state.filter = search.value; options.changed(); },
  });
  const node = el("section", {},
    el("fieldset", { class: "controls" }, el("label", { class: "field" }, "Filter of the table", search)), count,
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" }, el("table", {}, el("thead", {}, el("tr", {}, box, heads)), body)));
  function update() {
    if (search.value !== state.filter) search.value = state.filter;
    const all = options.rows();
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const said = (row) => columns.map((c) => `${c.of(row) ?? ""} ${shown(c.of(row))}`).join(" ").toLowerCase();
    let rows = words.length ? all.filter((row) => { const t = said(row); return words.every((w) => t.includes(w)); }) : all.slice();
    const name = state.sort.replace(/^-/, ""), down = state.sort.startsWith("-");
    const by = columns.find((c) => c.name === name);
    if (by) {
      const key = by.key || by.of;
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x == null || y == null) return (x == null) - (y == null); // rows without the value are last either way
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      });
    }
    heads.forEach((h, i) => h.setAttribute("aria-sort", columns[i].name !== name ? "none" : down ? "descending" : "ascending"));
    const drawn = rows.slice(0, most);
    count.textContent = `${drawn.length.toLocaleString("en")} of ${options.all.toLocaleString("en")} ${options.what} shown` +
      (drawn.length < rows.length ? `; ${rows.length.toLocaleString("en")} match: filter further to see the others` : "");
    body.replaceChildren(...drawn.map((row) => {
      const cells = columns.map((c) => {
        const value = c.of(row), exact = typeof value === "number" ? String(value) : null;
        return el("td", { class: c.long ? "text long" : c.text ? "text" : null, "data-column": c.name, "data-value": exact, title: exact }, shown(value));
      });
      if (!options.pick) return el("tr", {}, cells);
      const on = options.picked(row);
      const check = el("input", { type: "checkbox", "aria-label": "choose this point", change: () => options.pick(row, check.checked) });
      check.checked = on;
      return el("tr", { class: on ? "chosen" : null, "data-row": row.id }, el("td", { class: "text pick" }, check), cells);
    }));
    return rows;
  }
  return { node, update };
}
