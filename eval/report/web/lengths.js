// EM by length of the text, with the reader's own ceiling: above it no picture can be seen to be right.

const LENGTHS = { width: 760, height: 360, left: 62, right: 26, top: 18, bottom: 52 };
const AB = [
  ["a", "var(--series-1)"],
  ["b", "var(--series-2)"],
];

const binName = (bin) =>
  bin.shortest === bin.longest ? `${bin.shortest}` : `${bin.shortest}–${bin.longest}`;

const hasLengths = (row) => hasPanels(row) && data.lengths[row.id];

// The rows of the comparison when chosen, else the best, the middle and the last.
function lengthRows() {
  const picked = AB.map(([side]) => chosen(side)).filter((row) => row && hasLengths(row));
  if (picked.length) return picked;
  const known = rows.filter((row) => !isForeign(row) && hasLengths(row));
  return spread(known);
}

// The best, the middle and the last of some rows.
function spread(members) {
  const places = [0, Math.floor(members.length / 2), members.length - 1];
  return [...new Set(places)].map((i) => members[i]).filter(Boolean);
}

// One row for each ceiling that these rows have: rows of one size share theirs.
function ceilingsOf(members) {
  const known = members.filter((row) => data.lengths[row.ceiling]);
  return known.filter((row, i) => known.findIndex((other) => other.ceiling === row.ceiling) === i);
}

// What tells one ceiling from the others, and from the rows that have none.
function ceilingWords(row, ceilings, bare) {
  if (ceilings.length < 2 && !bare.length) return "";
  const sizes = ceilings.map((each) => each.size_px);
  const isOfSize =
    new Set(sizes).size === ceilings.length && !bare.some((each) => sizes.includes(each.size_px));
  return isOfSize ? ` of ${row.size_px} px` : `, ${row.suite} at ${row.size_px} px`;
}

function drawLengths(body) {
  const members = lengthRows();
  const ceilings = ceilingsOf(members);
  const bare = members.filter((row) => !data.lengths[row.ceiling]);
  const bins = [
    ...new Map(
      [...members.map((row) => row.id), ...ceilings.map((row) => row.ceiling)]
        .flatMap((key) => data.lengths[key])
        .map((bin) => [bin.shortest, bin]),
    ).values(),
  ].toSorted((a, b) => a.shortest - b.shortest);
  if (!bins.length) return fill(body, h("p", { class: "empty" }, "No texts of known length were scored."));
  const { width, height, left, right, top, bottom } = LENGTHS;
  const place = new Map(
    bins.map((bin, i) => [bin.shortest, left + ((i + 0.5) / bins.length) * (width - left - right)]),
  );
  const scaleY = { at: (v) => height - bottom - v * (height - bottom - top), ticks: [0, 0.25, 0.5, 0.75, 1] };
  const scaleX = { at: (v) => place.get(v), ticks: bins.map((bin) => bin.shortest) };
  const nameAt = new Map(bins.map((bin) => [bin.shortest, binName(bin)]));
  const chart = s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${width} ${height}`,
      role: "group",
      "aria-label": "EM by length of the text",
    },
    axesOf(
      LENGTHS,
      scaleX,
      scaleY,
      (v) => nameAt.get(v),
      (v) => `${100 * v}`,
      "characters in the text",
      "EM, %",
    ),
    ceilings.map((row, i) =>
      s("path", { class: `ceiling ceiling-${i + 1}`, d: linePath(data.lengths[row.ceiling], scaleX, scaleY, (bin) => bin.em) }),
    ),
    members.map((row, i) => lengthLine(row, SERIES[i], scaleX, scaleY)),
  );
  const keys = members.map((row, i) => h("span", {}, h("i", { class: `dash series-${i + 1}` }), row.label));
  fill(
    body,
    otherReader(AB.map(([side]) => chosen(side))),
    h(
      "figure",
      {},
      chart,
      h(
        "div",
        { class: "legend" },
        keys,
        ceilings.map((row, i) =>
          h(
            "span",
            {},
            h("i", { class: `dash ceiling-key ceiling-${i + 1}` }),
            `what the reader reads of typeset text${ceilingWords(row, ceilings, bare)}`,
          ),
        ),
      ),
      h(
        "figcaption",
        {},
        ceilings.length
          ? "The dashed line is the ceiling: the share of correctly typeset texts that the reader gets right."
          : "The reader was not calibrated for these rows, so its own ceiling is not drawn. Choose rows A and B in the table to compare them here.",
        ceilings.length && bare.length
          ? ` Not calibrated, so without one: ${bare.map((row) => row.label).join("; ")}.`
          : null,
      ),
    ),
  );
}

const SERIES = ["var(--series-1)", "var(--series-2)", "var(--series-3)"];

function linePath(bins, scaleX, scaleY, value) {
  return bins.map((bin, i) => `${i ? "L" : "M"}${scaleX.at(bin.shortest)},${scaleY.at(value(bin))}`).join("");
}

function lengthLine(row, colour, scaleX, scaleY) {
  const bins = data.lengths[row.id];
  const band = `${linePath(bins, scaleX, scaleY, (bin) => bin.high)}${linePath(bins.toReversed(), scaleX, scaleY, (bin) => bin.low).replace("M", "L")}z`;
  const dots = bins.map((bin) =>
    withTip(
      s("circle", { cx: scaleX.at(bin.shortest), cy: scaleY.at(bin.em), r: 4.5, fill: colour, tabindex: 0 }),
      () => [
        row.label,
        `${binName(bin)} characters: ${(100 * bin.em).toFixed(1)} % [${(100 * bin.low).toFixed(1)}, ${(100 * bin.high).toFixed(1)}]`,
        `${bin.n} pictures`,
      ],
    ),
  );
  return s(
    "g",
    {},
    s("path", { class: "band", d: band, fill: colour }),
    s("path", { class: "curve", d: linePath(bins, scaleX, scaleY, (bin) => bin.em), stroke: colour }),
    dots,
  );
}

function lengthSection() {
  if (!rows.some(hasLengths)) return null;
  const { part, body } = section(
    "lengths",
    "By length",
    "How far the spelling holds. Bands are 95 % intervals with one count per prompt.",
  );
  view(["a", "b"], () => drawLengths(body));
  return part;
}
