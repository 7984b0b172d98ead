// Numbers as text, scores as cells, and the notes that say why a number is missing or orders nothing.

const COSTS = new Map([
  [
    "seconds",
    {
      id: "seconds",
      label: "time",
      higher_is_better: false,
      unit: "s",
      description: "Mean time for one picture.",
      source: "measured while the pictures were made",
    },
  ],
  [
    "evaluations",
    {
      id: "evaluations",
      label: "evaluations",
      higher_is_better: false,
      unit: "",
      description: "Mean network evaluations for one picture, all stages.",
      source: "counted while the pictures were made",
    },
  ],
]);

const infoOf = (id) =>
  metrics.get(id) ??
  COSTS.get(id) ?? {
    id,
    label: id.replaceAll("_", " "),
    higher_is_better: true,
    unit: "",
    description: "",
    source: "",
  };

// The number that ranks: EM when it was scored, else the first there is.
const headline = metrics.has("em_ci") ? "em_ci" : data.metrics[0]?.id;

// One shape for scores and costs: a cost has no interval and is always comparable.
function scoreOf(row, id) {
  if (COSTS.has(id)) {
    const value = id === "seconds" ? row.seconds : row.evaluations;
    return value === null ? { reason: "not measured" } : { value };
  }
  return row.scores[id] ?? { reason: "not scored for this row" };
}

const hasValue = (score) => score.value !== undefined;
const isRanked = (score) => hasValue(score) && !score.unranked;

const isShare = (id) => infoOf(id).unit === "share";

function number(value, id) {
  if (value === undefined || value === null) return "–";
  const shown = isShare(id) ? 100 * value : value;
  const size = Math.abs(shown);
  const plain = isShare(id)
    ? shown.toFixed(1)
    : size >= 100 || (id === "evaluations" && Number.isInteger(shown))
      ? shown.toFixed(0)
      : size >= 10
        ? shown.toFixed(1)
        : shown.toFixed(2);
  return plain.replace("-", "−");
}

const unitOf = (id) =>
  isShare(id) ? "%" : infoOf(id).unit.replace("x1000", "×1000").replace("x100", "×100");
const arrow = (id) => (infoOf(id).higher_is_better ? "↑" : "↓");
// An interval as it stands under its number; a dash beside a minus would read as another minus.
const range = (score, id) =>
  score.low === undefined
    ? null
    : h(
        "small",
        { class: "range" },
        `${number(score.low, id)}${score.low < 0 ? " to " : "–"}${number(score.high, id)}`,
      );
const interval = (score, id) =>
  score.low === undefined ? "" : `[${number(score.low, id)}, ${number(score.high, id)}]`;

function describe(row, id) {
  const score = scoreOf(row, id);
  const lines = [
    `${row.label}`,
    `${infoOf(id).label}: ${number(score.value, id)} ${unitOf(id)} ${interval(score, id)}`.trim(),
  ];
  if (score.expected) lines.push(`${score.n} of ${score.expected} pictures scored`);
  if (score.reason) lines.push(score.reason);
  return lines;
}

// The span of a column over all rows: shares from 0 to 1 are drawn on their whole scale.
function spanOf(id, members = rows) {
  const ends = members.flatMap((row) => {
    const score = scoreOf(row, id);
    return hasValue(score) ? [score.value, score.low ?? score.value, score.high ?? score.value] : [];
  });
  const [low, high] = [Math.min(0, ...ends), Math.max(isShare(id) ? 1 : 0, ...ends)];
  return [low, high > low ? high : low + 1];
}

function whisker(score, [low, high]) {
  const width = 62;
  const at = (value) => 2 + ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (width - 4);
  const bar = s(
    "svg",
    { class: "whisker", viewBox: `0 0 ${width} 8`, "aria-hidden": "true" },
    s("line", { class: "rail", x1: 2, x2: width - 2, y1: 4, y2: 4 }),
  );
  if (score.low !== undefined) {
    bar.append(s("line", { class: "span", x1: at(score.low), x2: at(score.high), y1: 4, y2: 4 }));
  }
  bar.append(s("circle", { class: "dot", cx: at(score.value), cy: 4, r: 2.6 }));
  return bar;
}

// Why these rows have no samples, tests or panels here; null when all of them are of the page's own reader.
function otherReader(members) {
  const other = members.find((row) => row && !hasPanels(row));
  if (!other) return null;
  return h(
    "p",
    { class: "lead other-reader" },
    `This page holds pictures and tests of ${readerOf(first)} alone: `,
    h("code", {}, "txtdiff-eval compare"),
    " compares rows of another reader, and ",
    h("code", {}, `txtdiff-eval report --filter 'protocol_id = ${other.protocol}'`),
    ` makes the page of ${readerOf(other)}.`,
  );
}

// Reasons are collected while a table is drawn and listed below it; equal reasons share a number.
class Notes {
  constructor() {
    this.reasons = [];
  }

  mark(reason) {
    if (!this.reasons.includes(reason)) this.reasons.push(reason);
    return h("sup", { class: "note" }, String(this.reasons.indexOf(reason) + 1));
  }

  list() {
    if (!this.reasons.length) return null;
    return h(
      "ol",
      { class: "notes" },
      this.reasons.map((reason) => h("li", {}, reason)),
    );
  }
}
