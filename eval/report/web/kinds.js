// EM by kind of text: which strings a setting writes, counted over the pictures of this page.

// Wilson's score interval (1927) of a share; n is the number of prompts, as repeats of one tell little new.
function wilson(share, n) {
  const z2 = 1.959964 ** 2;
  const centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Math.sqrt(z2) / (1 + z2 / n)) * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n));
  return [share === 0 ? 0 : centre - half, share === 1 ? 1 : centre + half];
}

function kindScore(row, stratum) {
  const mine = samplesOf(row).filter((sample) => sample.prompt.stratum === stratum);
  if (!mine.length) return null;
  const value = mine.filter((sample) => sample.right).length / mine.length;
  const [low, high] = wilson(value, new Set(mine.map((sample) => sample.prompt.id)).size);
  return { value, low, high, n: mine.length };
}

function kindCell(row, stratum) {
  const score = kindScore(row, stratum);
  if (!score) return h("td", { class: "metric missing" }, "—");
  const value = h("span", { class: "value" }, (100 * score.value).toFixed(0));
  const bounds = `[${(100 * score.low).toFixed(0)}, ${(100 * score.high).toFixed(0)}]`;
  const cell = h("td", { class: "metric" }, value, whisker(score, [0, 1]));
  return withTip(cell, () => [
    row.label,
    `${stratum}: EM ${(100 * score.value).toFixed(1)} % ${bounds}`,
    `${score.n} pictures`,
  ]);
}

function kindSection() {
  if (strata.length < 2) return null;
  const { part, body } = section(
    "kinds",
    "By kind of text",
    "EM, %, of the pictures in this page. The rows of the comparison when chosen, else the best, the middle and the last.",
  );
  view(["a", "b"], () => {
    const picked = ["a", "b"].map(chosen).filter((row) => row && samplesOf(row).length);
    const known = rows.filter((row) => !isForeign(row) && samplesOf(row).length);
    const members = picked.length ? picked : spread(known);
    const head = members.map((row) => h("th", { scope: "col" }, swatch(row), row.label));
    const lines = strata.map((stratum) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, stratum),
        members.map((row) => kindCell(row, stratum)),
      ),
    );
    fill(
      body,
      otherReader(["a", "b"].map(chosen)),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "methods kinds" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "kind"), head)),
          h("tbody", {}, lines),
        ),
      ),
    );
  });
  return part;
}
