// Two rows on the same prompts and the same noise: what one writes right and the other does not.

// Only prompts with text: EM and its tests know no others.
function pairsOf(a, b) {
  const theirs = new Map(samplesOf(b).map((sample) => [cellKey(sample), sample]));
  return samplesOf(a)
    .filter((sample) => sample.prompt.txt.trim() !== "" && theirs.has(cellKey(sample)))
    .map((sample) => [sample, theirs.get(cellKey(sample))]);
}

function verdictOn(a, b) {
  const test = pairTestOf(a, b);
  if (!test) return "These two rows were not tested against each other: they have other prompts.";
  const { p, low, high } = test;
  const shown = p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
  const points = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;
  const gap = `B − A between ${points(low)} and ${points(high)} points of EM`;
  const reader = hasReaders ? ` Read by ${readerOf(a)}.` : "";
  return `${p < 0.05 ? "They differ in EM" : "They cannot be told apart by EM"}: ${gap}, ${shown}, paired by prompt over all pictures, Holm-adjusted for every pair of this table.${reader}`;
}

function countTable(counts) {
  const cell = (n, kind) => h("td", { class: kind }, String(n));
  return h(
    "table",
    { class: "counts" },
    h(
      "thead",
      {},
      h("tr", {}, h("td", {}), h("th", { scope: "col" }, "B right"), h("th", { scope: "col" }, "B wrong")),
    ),
    h(
      "tbody",
      {},
      h("tr", {}, h("th", { scope: "row" }, "A right"), cell(counts.both, ""), cell(counts.a, "won-a")),
      h("tr", {}, h("th", { scope: "row" }, "A wrong"), cell(counts.b, "won-b"), cell(counts.neither, "")),
    ),
  );
}

function flipCard([mine, theirs]) {
  return h(
    "div",
    { class: "flip" },
    sampleCard(mine, h("span", { class: "side-a" }, "A")),
    sampleCard(theirs, h("span", { class: "side-b" }, "B")),
  );
}

function flipGroup(title, pairs, kind) {
  // The plainest differences first: those where the losing side is furthest off.
  const sorted = pairs.toSorted((x, y) => Math.max(y[0].cer, y[1].cer) - Math.max(x[0].cer, x[1].cer));
  const shown = sorted.slice(0, 12);
  return h(
    "div",
    { class: "flips", "data-flips": kind },
    h("h3", {}, `${title}: ${pairs.length}`),
    h("div", { class: "flipwall" }, shown.map(flipCard)),
    pairs.length > shown.length ? h("p", { class: "status" }, `${pairs.length - shown.length} more.`) : null,
  );
}

// Rows of different groups and numbers that rank nothing can be told, not won; costs are costs anywhere.
const canBeWon = (a, b, id) =>
  COSTS.has(id) || (a.group === b.group && isRanked(scoreOf(a, id)) && isRanked(scoreOf(b, id)));

function gapCell(a, b, id) {
  const [x, y] = [scoreOf(a, id), scoreOf(b, id)];
  if (!hasValue(x) || !hasValue(y)) return h("td", {}, "–");
  const gain = (y.value - x.value) * (infoOf(id).higher_is_better ? 1 : -1);
  const gap = `${y.value >= x.value ? "+" : "−"}${number(Math.abs(y.value - x.value), id)}`;
  if (canBeWon(a, b, id)) return h("td", { class: gain > 0 ? "won-b" : gain < 0 ? "won-a" : "" }, gap);
  const why = [x, y].find((score) => score.unranked)?.reason ?? "The rows have other prompts or another reader.";
  return withTip(h("td", { class: "unranked" }, gap), () => [why]);
}

function numbersOf(a, b) {
  const ids = shownColumns().filter((id) => hasValue(scoreOf(a, id)) || hasValue(scoreOf(b, id)));
  const line = (id) => {
    const [x, y] = [scoreOf(a, id), scoreOf(b, id)];
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, infoOf(id).label, h("small", {}, ` ${unitOf(id)} ${arrow(id)}`)),
      h("td", {}, number(x.value, id)),
      h("td", {}, number(y.value, id)),
      gapCell(a, b, id),
    );
  };
  return h(
    "table",
    { class: "counts" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("td", {}),
        ["A", "B", "B − A"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h("tbody", {}, ids.map(line)),
  );
}

// The counts are of all pictures with text of the store; the page holds some of them.
function countStatus(a, b, n) {
  const held = `${n} pictures with text, same prompt and same noise`;
  const test = pairTestOf(a, b);
  if (!test) return `${held}, in this page.`;
  const all = test.both + test.a + test.b + test.neither;
  return `All ${all} pictures with text, same prompt and same noise. This page holds ${n} of them, shown below where they flip.`;
}

function drawCompare(body) {
  const [a, b] = [chosen("a"), chosen("b")];
  if (!a || !b || a === b)
    return fill(
      body,
      h(
        "p",
        { class: "empty" },
        "Choose two rows: by the buttons A and B of the table, by the lists above, or with the keys a and b on a row.",
      ),
    );
  const elsewhere = otherReader([a, b]);
  if (elsewhere) return fill(body, elsewhere, h("div", { class: "duel" }, numbersOf(a, b)));
  const pairs = pairsOf(a, b);
  const onlyA = pairs.filter(([x, y]) => x.right && !y.right);
  const onlyB = pairs.filter(([x, y]) => !x.right && y.right);
  const both = pairs.filter(([x, y]) => x.right && y.right).length;
  const counts = pairTestOf(a, b) ?? {
    both,
    a: onlyA.length,
    b: onlyB.length,
    neither: pairs.length - both - onlyA.length - onlyB.length,
  };
  fill(
    body,
    h("p", { class: "lead verdict-line" }, verdictOn(a, b)),
    h(
      "div",
      { class: "duel" },
      numbersOf(a, b),
      h(
        "div",
        {},
        countTable(counts),
        h("p", { class: "status" }, countStatus(a, b, pairs.length)),
      ),
    ),
    flipGroup("Only A is right", onlyA, "a"),
    flipGroup("Only B is right", onlyB, "b"),
  );
}

function compareSection() {
  if (rows.length < 2) return null;
  const { part, body } = section(
    "compare",
    "Side by side",
    "Two settings on the same prompts and the same noise, so that only the setting differs.",
  );
  const controls = h("div", { class: "controls" });
  const duel = h("div", {});
  body.append(controls, duel);
  const options = [["", "choose a row"], ...rows.map((row) => [row.key, nameOf(row)])];
  view(["a", "b", "boxes", "columns"], () => {
    fill(
      controls,
      choice("A", options, state.a, (a) => set({ a })),
      choice("B", options, state.b, (b) => set({ b })),
      h("button", { type: "button", onclick: () => set({ a: state.b, b: state.a }) }, "swap"),
    );
    drawCompare(duel);
  });
  return part;
}
