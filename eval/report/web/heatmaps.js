// Steps by guidance, a grid for each sampler and size of picture, all on one scale of colour.

const gridRows = rows.filter(
  (row) => !isForeign(row) && stepsOf(row) !== undefined && guidanceOf(row) !== undefined,
);
const byNumber = (a, b) => a - b;

// A base and its cascade share samplers and steps, but not what they draw.
const hasSizes = new Set(gridRows.map((row) => row.size_px)).size > 1;
const gridName = (row) =>
  hasSizes && row.size_px !== null ? `${samplerOf(row)}, ${row.size_px} px` : samplerOf(row);

function heatCell(row, id, low, high) {
  const score = scoreOf(row, id);
  if (!hasValue(score)) return withTip(h("td", { class: "none", tabindex: 0 }, "—"), () => describe(row, id));
  const share = high > low ? (score.value - low) / (high - low) : 0.5; // all alike: none stands out
  const good = infoOf(id).higher_is_better ? share : 1 - share;
  const cell = h("td", { tabindex: 0, class: good > 0.55 ? "deep" : "" }, number(score.value, id));
  cell.style.setProperty("--level", `${(100 * good).toFixed(1)}%`);
  cell.addEventListener("click", () => set({ row: row.key, more: 1 }));
  return withTip(cell, () => describe(row, id));
}

function heatGrid(name, id, low, high) {
  const members = gridRows.filter((row) => gridName(row) === name);
  const steps = [...new Set(members.map(stepsOf))].toSorted(byNumber);
  const guidances = [...new Set(members.map(guidanceOf))].toSorted(byNumber);
  const cell = (step, guidance) => {
    // Several rows may share a cell (thresholds, checkpoints): the best of them stands for it.
    const here = members.filter((row) => stepsOf(row) === step && guidanceOf(row) === guidance);
    const best = here.find((row) => hasValue(scoreOf(row, id))) ?? here[0];
    return best ? heatCell(best, id, low, high) : h("td", { class: "none" }, "");
  };
  const lines = guidances.toReversed().map((guidance) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, String(guidance)),
      steps.map((step) => cell(step, guidance)),
    ),
  );
  const head = h(
    "tr",
    {},
    h("th", { scope: "col", class: "corner" }, "guidance ╲ steps"),
    steps.map((step) => h("th", { scope: "col" }, String(step))),
  );
  return h(
    "div",
    { class: "heat" },
    h("h3", {}, swatch(members[0]), name),
    h("table", {}, h("thead", {}, head), h("tbody", {}, lines)),
  );
}

function heatSection() {
  const names = [...new Set(gridRows.map(gridName))];
  const points = new Set(gridRows.map((row) => `${gridName(row)} ${stepsOf(row)} ${guidanceOf(row)}`));
  if (points.size < 2) return null;
  const { part, body } = section(
    "heat",
    "Sampler grid",
    "Steps across, text guidance up, one grid for each sampler and size; deeper is better. One scale for all grids.",
  );
  const controls = h("div", { class: "controls" });
  const grids = h("div", { class: "heats" });
  body.append(controls, grids);
  const ids = plottable.filter((id) => gridRows.some((row) => hasValue(scoreOf(row, id))));
  view(["heat"], () => {
    const id = ids.includes(state.heat) ? state.heat : ids.includes(headline) ? headline : ids[0];
    const values = gridRows
      .map((row) => scoreOf(row, id))
      .filter(hasValue)
      .map((score) => score.value);
    fill(
      controls,
      choice(
        "number",
        ids.map((each) => [each, infoOf(each).label]),
        id,
        (heat) => set({ heat }),
      ),
    );
    fill(
      grids,
      names.map((name) => heatGrid(name, id, Math.min(...values), Math.max(...values))),
    );
  });
  return part;
}
