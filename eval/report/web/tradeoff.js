// Any two numbers against each other: who is on the frontier, and who is beaten.

const FRAME = { width: 760, height: 430, left: 62, right: 26, top: 18, bottom: 52 };

// Numeric settings that differ between rows (steps, guidance, images trained on) can be axes as well.
const numericAxes = axes.filter((name) => rows.some((row) => typeof row.axes[name] === "number"));
const plottable = [...metrics.keys(), ...COSTS.keys()].filter((id) =>
  rows.some((row) => hasValue(scoreOf(row, id))),
);
const pointOf = (row, id) =>
  id.startsWith("=")
    ? { value: typeof row.axes[id.slice(1)] === "number" ? row.axes[id.slice(1)] : undefined }
    : scoreOf(row, id);
const axisLabel = (id) =>
  id.startsWith("=")
    ? id.slice(1).replaceAll("_", " ")
    : `${infoOf(id).label}${unitOf(id) ? `, ${unitOf(id)}` : ""}`;
const axisNumber = (value, id) => (id.startsWith("=") ? String(value) : number(value, id));
const tickText = (value, id) => axisNumber(value, id).replace(/\.0+$/, "");
const betterHigh = (id) => (id.startsWith("=") ? false : infoOf(id).higher_is_better);

const shownX = () =>
  state.x ||
  (plottable.includes("seconds")
    ? "seconds"
    : plottable.includes("evaluations")
      ? "evaluations"
      : (plottable[1] ?? plottable[0]));
const shownY = () => state.y || headline;

function niceTicks(low, high, count) {
  const step = 10 ** Math.floor(Math.log10((high - low) / count));
  const factor = [1, 2, 2.5, 5, 10].find((f) => (high - low) / (step * f) <= count) ?? 10;
  const first = Math.ceil(low / (step * factor) - 1e-9);
  const last = Math.floor(high / (step * factor) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) =>
    Number(((first + i) * step * factor).toPrecision(12)),
  );
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const digit of [1, 2, 5]) ticks.push(Number((digit * 10 ** power).toPrecision(6)));
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

// A scale maps numbers to pixels; logarithmic when asked, or when a cost spans more than a factor of eight.
function makeScale(values, from, to, { log = false, zero = false } = {}) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) [low, high] = [low / 1.25, high * 1.25];
  else {
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [zero && low >= 0 ? 0 : low - room, high + room];
  }
  const at = log
    ? (v) => from + ((Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (to - from)
    : (v) => from + ((v - low) / (high - low)) * (to - from);
  return { at, ticks: log ? logTicks(low, high) : niceTicks(low, high, 6) };
}

function frontierOf(points, highX, highY) {
  const better = (a, b) =>
    (highX ? a.x >= b.x : a.x <= b.x) && (highY ? a.y >= b.y : a.y <= b.y) && (a.x !== b.x || a.y !== b.y);
  return points
    .filter((point) => !points.some((other) => better(other, point)))
    .toSorted((a, b) => a.x - b.x || a.y - b.y);
}

function axesOf(frame, scaleX, scaleY, textX, textY, labelX, labelY) {
  const bottom = frame.height - frame.bottom;
  const right = frame.width - frame.right;
  return s(
    "g",
    { class: "axes" },
    scaleY.ticks.map((v) => [
      s("line", { class: "grid", x1: frame.left, x2: right, y1: scaleY.at(v), y2: scaleY.at(v) }),
      s("text", { x: frame.left - 8, y: scaleY.at(v) + 4, "text-anchor": "end" }, textY(v)),
    ]),
    scaleX.ticks.map((v) => [
      s("line", { class: "grid", x1: scaleX.at(v), x2: scaleX.at(v), y1: frame.top, y2: bottom }),
      s("text", { x: scaleX.at(v), y: bottom + 18, "text-anchor": "middle" }, textX(v)),
    ]),
    s(
      "text",
      { class: "title", x: (frame.left + right) / 2, y: frame.height - 10, "text-anchor": "middle" },
      labelX,
    ),
    s(
      "text",
      {
        class: "title",
        transform: `translate(15 ${(frame.top + bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      labelY,
    ),
  );
}

function frontierPath(front, scaleX, scaleY, highX) {
  // A staircase: between two points nothing better than the worse of them is known.
  const ordered = highX ? front.toReversed() : front;
  return ordered
    .map((p, i) => (i ? `H${scaleX.at(p.x)}V${scaleY.at(p.y)}` : `M${scaleX.at(p.x)},${scaleY.at(p.y)}`))
    .join("");
}

function pointMark(point, onFront, scaleX, scaleY, ids) {
  const [x, y] = [scaleX.at(point.x), scaleY.at(point.y)];
  const bars = [
    point.scoreY.low === undefined
      ? null
      : s("line", {
          class: "error",
          x1: x,
          x2: x,
          y1: scaleY.at(point.scoreY.low),
          y2: scaleY.at(point.scoreY.high),
        }),
    point.scoreX.low === undefined
      ? null
      : s("line", {
          class: "error",
          y1: y,
          y2: y,
          x1: scaleX.at(point.scoreX.low),
          x2: scaleX.at(point.scoreX.high),
        }),
  ];
  const group = s(
    "g",
    {
      class: `point ${onFront ? "front" : "beaten"}`,
      tabindex: 0,
      role: "img",
      "aria-label": describe(point.row, shownY()).join(", "),
    },
    bars,
    marker(point.row, x, y, onFront ? 6 : 4.5),
    s("circle", { class: "hit", cx: x, cy: y, r: 13 }),
  );
  const lines = () => [
    point.row.label,
    ...ids.map(
      (id) =>
        `${axisLabel(id)}: ${axisNumber(pointOf(point.row, id).value, id)} ${id.startsWith("=") ? "" : interval(pointOf(point.row, id), id)}`,
    ),
    onFront ? "on the frontier" : "another row is better on one axis and no worse on the other",
  ];
  group.addEventListener("click", () => set({ row: point.row.key, more: 1 }));
  return withTip(group, lines);
}

// Names of frontier points, moved down until they no longer overlap.
function frontLabels(front, scaleX, scaleY) {
  const taken = [];
  return front.map((point) => {
    const [x, y] = [scaleX.at(point.x), scaleY.at(point.y)];
    const left = x > FRAME.width * 0.66;
    let at = y - 9;
    while (taken.some(([tx, ty]) => Math.abs(tx - x) < 130 && Math.abs(ty - at) < 14)) at += 14;
    taken.push([x, at]);
    const text = point.row.label.length > 34 ? `${point.row.label.slice(0, 33)}…` : point.row.label;
    return s(
      "text",
      { class: "name", x: x + (left ? -9 : 9), y: at, "text-anchor": left ? "end" : "start" },
      text,
    );
  });
}

function legend(members) {
  const firsts = samplers.map((name) => members.find((row) => samplerOf(row) === name)).filter(Boolean);
  return firsts.length < 2
    ? null
    : h(
        "div",
        { class: "legend" },
        firsts.map((row) => h("span", {}, swatch(row), samplerOf(row))),
      );
}

function drawTradeoff(body) {
  const [idX, idY] = [shownX(), shownY()];
  const members = rows.filter((row) => !isForeign(row));
  const points = members
    .map((row) => ({ row, scoreX: pointOf(row, idX), scoreY: pointOf(row, idY) }))
    .filter((p) => hasValue(p.scoreX) && hasValue(p.scoreY))
    .map((p) => ({ ...p, x: p.scoreX.value, y: p.scoreY.value }));
  if (!points.length)
    return fill(body, h("p", { class: "empty" }, `No row has both ${axisLabel(idX)} and ${axisLabel(idY)}.`));
  const ends = (key) =>
    points.flatMap((p) => [p[key].value, p[key].low ?? p[key].value, p[key].high ?? p[key].value]);
  const spanX = ends("scoreX");
  const canLog = Math.min(...spanX) > 0;
  const log =
    canLog && (state.logx === "1" || (state.logx === "auto" && Math.max(...spanX) / Math.min(...spanX) > 8));
  const scaleX = makeScale(spanX, FRAME.left, FRAME.width - FRAME.right, { log });
  const scaleY = makeScale(ends("scoreY"), FRAME.height - FRAME.bottom, FRAME.top);
  const front = frontierOf(points, betterHigh(idX), betterHigh(idY));
  const chart = s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${FRAME.width} ${FRAME.height}`,
      role: "group",
      "aria-label": `${axisLabel(idY)} against ${axisLabel(idX)}`,
    },
    axesOf(
      FRAME,
      scaleX,
      scaleY,
      (v) => tickText(v, idX),
      (v) => tickText(v, idY),
      `${axisLabel(idX)} ${betterHigh(idX) ? "→ better" : "← better"}`,
      `${axisLabel(idY)} ${betterHigh(idY) ? "→ better" : "← better"}`,
    ),
    s("path", { class: "frontier", d: frontierPath(front, scaleX, scaleY, betterHigh(idX)) }),
    points.filter((p) => !front.includes(p)).map((p) => pointMark(p, false, scaleX, scaleY, [idY, idX])),
    front.map((p) => pointMark(p, true, scaleX, scaleY, [idY, idX])),
    frontLabels(front, scaleX, scaleY),
  );
  const unranked = points.some((p) => p.scoreX.unranked || p.scoreY.unranked);
  fill(
    body,
    h(
      "figure",
      {},
      chart,
      legend(members),
      h(
        "figcaption",
        {},
        `${front.length} of ${points.length} settings are on the frontier; for each of the others some row is better on one axis and no worse on the other.${unranked ? " One axis holds numbers that order nothing at this n: read the frontier as a sketch." : ""}`,
      ),
    ),
  );
}

function tradeoffSection() {
  if (!plottable.length) return null;
  const { part, body } = section(
    "tradeoff",
    "Trade-offs",
    "What a better number costs. Bars are 95 % intervals; the line joins the settings that nothing beats.",
  );
  const controls = h("div", { class: "controls" });
  const chart = h("div", {});
  body.append(controls, chart);
  const options = [
    ...plottable.map((id) => [id, infoOf(id).label]),
    ...numericAxes.map((name) => [`=${name}`, name.replaceAll("_", " ")]),
  ];
  view(["x", "y", "logx"], () => {
    fill(
      controls,
      choice("across", options, shownX(), (x) => set({ x })),
      choice("up", options, shownY(), (y) => set({ y })),
      choice(
        "scale across",
        [
          ["auto", "automatic"],
          ["0", "linear"],
          ["1", "logarithmic"],
        ],
        state.logx,
        (logx) => set({ logx }),
      ),
    );
    drawTradeoff(chart);
  });
  return part;
}
