// How far several readers agree: where they do not, a score says as much about the reader as about the model.

function agreementCell(value, low, high, span) {
  if (value === null) return h("td", { class: "metric missing" }, "—");
  const isShare = span[0] === 0;
  const shown = (x) => (isShare ? (100 * x).toFixed(1) : x.toFixed(2).replace("-", "−"));
  const score = low === null ? { value } : { value, low, high };
  const bounds = low === null ? null : h("small", {}, ` [${shown(low)}, ${shown(high)}]`);
  return h("td", { class: "metric" }, h("span", { class: "value" }, shown(value), bounds), whisker(score, span));
}

function agreementLine({ label, a, b, agreement }) {
  const { n, equal, equal_low, equal_high, similarity, kappa, kappa_low, kappa_high } = agreement;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, label),
    h("td", {}, `${a}, ${b}`),
    h("td", { class: "count" }, String(n)),
    agreementCell(equal, equal_low, equal_high, [0, 1]),
    h("td", { class: "metric" }, similarity === null ? "—" : similarity.toFixed(3)),
    agreementCell(kappa, kappa_low, kappa_high, [-1, 1]),
  );
}

function readerSection() {
  if (!data.agreements.length) return null;
  const { part, body } = section(
    "readers",
    "Readers",
    "How far the readers agree on the same pictures, those with text that both have read. Never part of a rank.",
  );
  const heads = ["setting", "readers", "pictures", "read the same, %", "similarity", "κ of exact match"];
  const head = heads.map((name) => h("th", { scope: "col" }, name));
  body.append(
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Agreement of readers" },
      h(
        "table",
        { class: "methods kinds" },
        h("thead", {}, h("tr", {}, head)),
        h("tbody", {}, data.agreements.map(agreementLine)),
      ),
    ),
    h(
      "p",
      { class: "status" },
      "Similarity is the mean of 1 − edits / longer length of the two readings; κ is Cohen's, of being right or wrong. No κ where a reader always gives the same answer.",
    ),
  );
  return part;
}
