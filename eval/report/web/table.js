// The leaderboard: sortable, filtered by words, with intervals, coverage, ties and notes.

const USUAL = ["em_ci", "em_rel", "em_unseen", "cer", "ned", "word_f1", "no_text_rate", "kid", "fid_clean", "clip_desc"];
// Without a calibration or training words these are empty by choice: they are left to the list of columns.
const IF_KNOWN = ["em_rel", "em_unseen"];
const isUsual = (id) =>
  metrics.has(id) && (!IF_KNOWN.includes(id) || rows.some((row) => hasValue(scoreOf(row, id))));
const everyColumn = [...metrics.keys(), ...COSTS.keys()];

function shownColumns() {
  const asked = state.columns.split(",").filter((id) => everyColumn.includes(id));
  const usual = USUAL.filter(isUsual);
  return asked.length
    ? asked
    : [...(usual.length ? usual : [...metrics.keys()].slice(0, 6)), ...COSTS.keys()];
}

function matches(row) {
  const text = `${row.label} ${JSON.stringify(row.spec)} ${row.tie}`.toLowerCase();
  return state.q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

// Foreign protocols stay below; then ranked values by size, then what is only shown, then what is missing.
function sortedRows(members) {
  const group = (row) => rows.find((other) => other.group === row.group).index;
  const id = state.sort;
  const class_ = (row) => (isRanked(scoreOf(row, id)) ? 0 : hasValue(scoreOf(row, id)) ? 1 : 2);
  const sign = state.down === "1" ? -1 : 1;
  const byValue = (a, b) => {
    if (id === "rank") return sign * (a.index - b.index);
    if (id === "label")
      return sign * a.label.localeCompare(b.label, "en", { numeric: true }) || a.index - b.index;
    if (class_(a) !== class_(b)) return class_(a) - class_(b);
    if (class_(a) > 0) return a.index - b.index;
    return sign * (scoreOf(a, id).value - scoreOf(b, id).value) || a.index - b.index;
  };
  return [...members].sort((a, b) => group(a) - group(b) || byValue(a, b));
}

function sortBy(id) {
  const bestFirst = id === "rank" || id === "label" ? "0" : infoOf(id).higher_is_better ? "1" : "0";
  set(state.sort === id ? { down: state.down === "1" ? "0" : "1" } : { sort: id, down: bestFirst });
}

function headCell(id, label, lines, extra = "") {
  const active = state.sort === id;
  const order = active ? (state.down === "1" ? "descending" : "ascending") : "none";
  const button = h(
    "button",
    { type: "button", onclick: () => sortBy(id) },
    label,
    h("span", { class: "order", "aria-hidden": "true" }, active ? (state.down === "1" ? "▼" : "▲") : ""),
  );
  withTip(button, () => lines);
  return h(
    "th",
    { scope: "col", "aria-sort": order, class: `${active ? "active" : ""} ${extra}`, "data-column": id },
    button,
  );
}

function metricHead(id) {
  const info = infoOf(id);
  const unit = unitOf(id);
  const text = [info.label, h("small", {}, ` ${unit ? `${unit} ` : ""}${arrow(id)}`)];
  return headCell(
    id,
    text,
    [info.description, `${info.higher_is_better ? "Higher" : "Lower"} is better. Source: ${info.source}.`],
    "metric",
  );
}

function scoreCell(row, id, span, notes) {
  const score = scoreOf(row, id);
  const attributes = {
    "data-label": infoOf(id).label,
    class: `metric ${isRanked(score) ? "" : hasValue(score) ? "unranked" : "missing"}`,
  };
  if (!hasValue(score))
    return h("td", attributes, h("span", { class: "value" }, "—", notes.mark(score.reason)));
  const partial = score.expected && score.n < score.expected;
  const value = h(
    "span",
    { class: "value" },
    number(score.value, id),
    score.reason && notes?.mark(score.reason),
    partial ? h("span", { class: "coverage" }, `${score.n}/${score.expected}`) : null,
  );
  const cell = h("td", attributes, value, range(score, id), COSTS.has(id) ? null : whisker(score, span));
  return withTip(cell, () => describe(row, id));
}

function rankCell(row) {
  const [low, high] = row.rank_interval ?? [];
  const range = row.rank_interval && low !== high ? h("small", {}, `${low}–${high}`) : null;
  const cell = h(
    "td",
    { class: "rank", "data-label": "rank" },
    row.rank === null ? "–" : String(row.rank),
    range,
  );
  const why =
    row.rank === null
      ? ["Not ranked."]
      : [
          `Rank ${row.rank} by EM`,
          row.rank_interval ? `95 % of resampled tables: ${low} to ${high}` : "no interval",
        ];
  return withTip(cell, () => why);
}

function tieCell(row) {
  const letters = h("span", { class: "tie" }, row.tie || "");
  return withTip(h("td", { class: "tie", "data-label": "tie" }, letters), () => [
    "Rows that share a letter cannot be told apart",
    "(paired tests on EM, Holm, 5 %).",
  ]);
}

// Twelve digits of a digest tell checkpoints apart; all of them take the row.
const brief = (value) => (/^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value);

function labelCell(row) {
  const chips = axes.filter(
    (name) => row.axes[name] !== undefined && !row.label.includes(String(row.axes[name])),
  );
  return h(
    "th",
    { scope: "row", class: "label" },
    swatch(row),
    h("span", { class: "name" }, row.label),
    isForeign(row) ? h("span", { class: "chip lock" }, foreignWhy(row)) : null,
    hasReaders ? h("span", { class: "chip" }, readerOf(row)) : null,
    chips
      .slice(0, 3)
      .map((name) => h("span", { class: "chip", title: row.axes[name] }, `${name} ${brief(row.axes[name])}`)),
  );
}

function pickCell(row) {
  const button = (side) =>
    toggle(
      side.toUpperCase(),
      state[side] === row.key,
      () => set({ [side]: state[side] === row.key ? "" : row.key }),
      `Row ${side.toUpperCase()} of the comparison`,
    );
  return h("td", { class: "pick", "data-label": "compare" }, button("a"), button("b"));
}

function bodyRow(row, columns, spans, notes) {
  const picked = state.a === row.key ? "is-a" : state.b === row.key ? "is-b" : "";
  const line = h(
    "tr",
    { tabindex: 0, class: `${isForeign(row) ? "foreign" : ""} ${picked}`, "data-row": row.key },
    rankCell(row),
    tieCell(row),
    labelCell(row),
    columns.map((id) => scoreCell(row, id, spans.get(id), notes)),
    pickCell(row),
  );
  line.addEventListener("keydown", (event) => rowKey(event, line, row));
  return line;
}

// Under the rows: what real pictures score against other real ones, at the same number of pictures.
function floorRow(row, columns, spans) {
  const cell = (id) =>
    row.scores[id] && hasValue(row.scores[id])
      ? scoreCell(row, id, spans.get(id), null)
      : withTip(h("td", { class: "blank" }), () => [
          row.scores[id]?.reason ?? "Real pictures have no such number.",
        ]);
  const label = h(
    "th",
    { scope: "row", class: "label", colspan: 3 },
    h("span", { class: "name" }, row.label),
    h("span", { class: "chip" }, row.scores.fid_clean?.reason && !hasValue(row.scores.fid_clean) ? row.scores.fid_clean.reason : "floor"),
  );
  withTip(label, () => [
    row.label,
    "Real pictures of the reference against its others: no setting can be expected to be nearer.",
  ]);
  return h("tr", { class: "floor", "data-floor": row.id }, label, columns.map(cell), h("td", { class: "pick blank" }));
}

function rowKey(event, line, row) {
  if (event.target !== line) return;
  const next = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
  if (next) next.focus();
  else if (event.key === "a" || event.key === "b") set({ [event.key]: row.key });
  else if (event.key === "Enter") set({ row: row.key, more: 1 });
  else return;
  event.preventDefault();
  if (event.key === "Enter") document.getElementById("samples").scrollIntoView();
  else if (!next) document.querySelector(`tr[data-row="${CSS.escape(row.key)}"]`)?.focus();
}

function drawTable(body) {
  const columns = shownColumns();
  const members = sortedRows(rows.filter(matches));
  const spans = new Map(columns.map((id) => [id, spanOf(id)]));
  const notes = new Notes();
  const head = h(
    "tr",
    {},
    headCell("rank", "#", ["Order of the board: rank by EM"]),
    h("th", { scope: "col" }, "tie"),
    headCell("label", "setting", ["By name"]),
    columns.map(metricHead),
    h("th", { scope: "col", class: "pick" }, "compare"),
  );
  const lines = members.map((row) => bodyRow(row, columns, spans, notes));
  fill(
    body,
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Leaderboard" },
      h(
        "table",
        { class: "board" },
        h("thead", {}, head),
        h("tbody", {}, lines),
        h("tfoot", {}, floors.map((row) => floorRow(row, columns, spans))),
      ),
    ),
    h("p", { class: "status", role: "status" }, tableStatus(members)),
    notes.list(),
  );
}

function tableStatus(members) {
  const hidden = rows.length - members.length;
  const id = state.sort;
  const silent =
    !["rank", "label"].includes(id) &&
    members.length > 0 &&
    !members.some((row) => isRanked(scoreOf(row, id)));
  const parts = [`${members.length} of ${rows.length} rows`];
  if (hidden) parts.push(`${hidden} filtered out`);
  if (silent) parts.push(`${infoOf(id).label} orders nothing here: see the notes`);
  return `${parts.join(" · ")}.`;
}

function columnPicker() {
  const box = (id) => {
    const change = (event) => {
      const now = new Set(shownColumns());
      if (event.target.checked) now.add(id);
      else now.delete(id);
      set({ columns: everyColumn.filter((column) => now.has(column)).join(",") });
    };
    return h(
      "label",
      { class: "check" },
      h("input", { type: "checkbox", checked: shownColumns().includes(id), onchange: change }),
      infoOf(id).label,
    );
  };
  return h(
    "details",
    { class: "picker" },
    h("summary", {}, "Columns"),
    h("div", { class: "checks" }, everyColumn.map(box)),
  );
}

function tableSection() {
  const { part, body } = section(
    "board",
    "Leaderboard",
    "Under each number its 95 % interval over prompts, also as a whisker. Rows that share a letter cannot be told apart. A number in grey is shown but orders nothing; the notes say why.",
  );
  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: "Filter rows  ( / )",
    "aria-label": "Filter rows",
    value: state.q,
    oninput: (event) => set({ q: event.target.value }),
  });
  const table = h("div", {});
  body.append(h("div", { class: "controls" }, search, columnPicker()), table);
  view(["sort", "down", "q", "columns", "a", "b"], () => {
    if (search.value !== state.q) search.value = state.q;
    drawTable(table);
  });
  return part;
}
