// The board, read once: rows and metrics at once, samples when they are there; and what is asked of them often.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map((row, index) => ({ ...row, index }));
// A row's name in the address. A setting that was read under several protocols has a row for each.
for (const row of rows)
  row.key = rows.find((other) => other.id === row.id) === row ? row.id : `${row.id}@${row.protocol}`;
// Real pictures against other real ones: at the foot of the table, and part of nothing else.
const floors = data.floors;
const metrics = new Map(data.metrics.map((metric) => [metric.id, metric]));

// Rows that were read by another protocol or asked for other pictures are shown, greyed, and never ranked
// against the first row and its like.
for (const row of rows) row.group = `${row.protocol} ${row.suite} ${row.pictures[1]}`;
const first = rows[0];
const isForeign = (row) => row.group !== first.group;
// Samples, tests, lengths, confusions and kinds of error are those of the first row's protocol.
const hasPanels = (row) => row.protocol === first.protocol;
// How a row's pictures were read. Two protocols of the same words are told apart by their ids.
const protocolsOf = (reader) =>
  new Set(rows.filter((row) => row.reader === reader).map((row) => row.protocol));
const readerOf = (row) =>
  protocolsOf(row.reader).size > 1 ? `${row.reader} ${row.protocol}`.trim() : row.reader;
const hasReaders = new Set(rows.map(readerOf)).size > 1;
// A setting that two readers read has two rows of one label.
const nameOf = (row) => (hasReaders ? `${row.label} · ${readerOf(row)}` : row.label);
const foreignWhy = (row) =>
  row.protocol !== first.protocol
    ? "other protocol"
    : row.suite !== first.suite
      ? "other suite"
      : "other prompts";

// Samples are most of the page and stand after this script: the table is drawn before they are read.
const samples = [];
let strata = [];

function readSamples() {
  const late = JSON.parse(document.getElementById("samples-data").textContent);
  strata = [...new Set(late.prompts.map((prompt) => prompt.stratum))].toSorted();
  late.samples.row.forEach((row, index) => {
    const sample = {
      index,
      row,
      prompt: late.prompts[late.samples.prompt[index]],
      seed: late.samples.seed[index],
      reading: late.samples.reading[index],
      right: late.samples.right[index] === 1,
      cer: late.samples.cer[index],
      size: late.samples.size[index],
      lines: late.samples.lines[index],
      thumbnail: late.thumbnails[index],
    };
    samples.push(sample);
    if (!samplesOfRow.has(row)) samplesOfRow.set(row, []);
    samplesOfRow.get(row).push(sample);
  });
}

const cellKey = (sample) => `${sample.prompt.id}\u0000${sample.seed}`;

// Other protocols read the same pictures, but what they read and got right is not in this page.
const samplesOfRow = new Map();
const samplesOf = (row) => samplesOfRow.get(row.index) ?? [];

// By setting, so of the first row's protocol only.
// Two rows against each other over all pictures of the store with text, from the first's side.
const pairTests = new Map();
for (const [a, b, p, low, high, both, onlyA, onlyB, neither] of data.pairs) {
  pairTests.set(`${a}\u0000${b}`, { p, low, high, both, a: onlyA, b: onlyB, neither });
  pairTests.set(`${b}\u0000${a}`, { p, low: -high, high: -low, both, a: onlyB, b: onlyA, neither });
}
const pairTestOf = (a, b) => pairTests.get(`${a.id}\u0000${b.id}`);

// Settings that differ between rows: what distinguishes them, in the order of the first row's spec.
const axes = Object.keys(Object.assign({}, ...rows.map((row) => row.axes))).filter(
  (name) => new Set(rows.map((row) => JSON.stringify(row.axes[name] ?? null))).size > 1,
);

const pick = (row, names) => names.map((name) => row.axes[name]).find((value) => value !== undefined);
const samplerOf = (row) => String(pick(row, ["sampler", "generator", "model", "folder"]) ?? "other");
const stepsOf = (row) => pick(row, ["n_steps", "steps"]);
const guidanceOf = (row) => pick(row, ["guidance_txt", "guidance", "guidance_scale"]);

// A colour and a shape for each sampler: either alone tells them apart.
const samplers = [...new Set(rows.map(samplerOf))];
const SHAPES = ["circle", "square", "diamond", "triangle", "down", "hexagon"];
const hue = (row) => `var(--series-${(samplers.indexOf(samplerOf(row)) % 7) + 1})`;
const shapeOf = (row) => SHAPES[samplers.indexOf(samplerOf(row)) % SHAPES.length];

function marker(row, x, y, radius) {
  const r = radius;
  const paths = {
    circle: `M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0z`,
    square: `M${x - r * 0.9},${y - r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}z`,
    diamond: `M${x},${y - r * 1.25}l${r * 1.25},${r * 1.25}l${-r * 1.25},${r * 1.25}l${-r * 1.25},${-r * 1.25}z`,
    triangle: `M${x},${y - r * 1.2}l${r * 1.15},${r * 2}h${-r * 2.3}z`,
    down: `M${x},${y + r * 1.2}l${r * 1.15},${-r * 2}h${-r * 2.3}z`,
    hexagon: `M${x - r},${y}l${r / 2},${-r * 0.9}h${r}l${r / 2},${r * 0.9}l${-r / 2},${r * 0.9}h${-r}z`,
  };
  return s("path", { d: paths[shapeOf(row)], fill: hue(row) });
}

const swatch = (row) =>
  s("svg", { class: "swatch", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, marker(row, 0, 0, 5));
