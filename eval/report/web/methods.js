// What is taken for what, where every number comes from, and how it is computed.

const confusionRows = rows.filter((row) => hasPanels(row) && data.confusions[row.id]?.length);

function confusionShares(key) {
  const most = data.confusions[key] ?? [];
  const total = most.reduce((sum, [, , n]) => sum + n, 0);
  return { total, share: new Map(most.map(([asked, read, n]) => [`${asked}\u0000${read}`, n / total])) };
}

function confusionLine([asked, read, n], mine, ceiling, widest) {
  const key = `${asked}\u0000${read}`;
  const [here, there] = [mine.share.get(key), ceiling.share.get(key) ?? 0];
  const what =
    asked === ""
      ? ["added ", h("b", {}, visible(read))]
      : read === ""
        ? ["lost ", h("b", {}, visible(asked))]
        : [h("b", {}, visible(asked)), " read as ", h("b", {}, visible(read))];
  const bar = h("span", { class: "bar" }, h("i", { class: "mine" }), h("i", { class: "theirs" }));
  bar.children[0].style.width = `${(100 * here) / widest}%`;
  bar.children[1].style.left = `${(100 * there) / widest}%`;
  return h(
    "tr",
    {},
    h("td", {}, what),
    h("td", { class: "count" }, `${n}×`),
    h("td", { class: "bars" }, bar),
    h("td", { class: "count" }, `${(100 * here).toFixed(1)} %`),
    ceiling.total
      ? h(
          "td",
          { class: "count" },
          `${here >= there ? "+" : "−"}${(100 * Math.abs(here - there)).toFixed(1)}`,
        )
      : null,
  );
}

const ERROR_KINDS = ["misread", "lost", "merged", "repeated", "added"];

// Kinds of error per 100 characters asked for, with the reader's own on typeset text beside them.
function kindsOfError(row) {
  const [mine, ceiling] = [data.errors[row.id], data.errors[row.ceiling]];
  if (!mine?.n_asked) return null;
  const share = (kinds, kind) => ((100 * kinds[kind]) / kinds.n_asked).toFixed(1);
  const line = (name, kinds) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      ERROR_KINDS.map((kind) => h("td", { class: "count" }, share(kinds, kind))),
    );
  const heads = ["errors per 100 characters", ...ERROR_KINDS];
  const head = h("tr", {}, heads.map((label) => h("th", { scope: "col" }, label)));
  const lines = [line("this setting", mine), ceiling?.n_asked ? line("typeset text", ceiling) : null];
  return h(
    "div",
    { class: "scroll" },
    h("table", { class: "methods errors" }, h("thead", {}, head), h("tbody", {}, lines)),
  );
}

function confusionSection() {
  if (!confusionRows.length) return null;
  const { part, body } = section(
    "confusions",
    "Confusions",
    "What goes wrong, by kind, and which letters are taken for which, as a share of all errors of the row.",
  );
  const controls = h("div", { class: "controls" });
  const table = h("div", {});
  body.append(controls, table);
  view(["row", "a"], () => {
    const wanted = chosen("row") ?? chosen("a") ?? confusionRows[0];
    const row = confusionRows.includes(wanted) ? wanted : confusionRows[0];
    const [mine, ceiling] = [confusionShares(row.id), confusionShares(row.ceiling)];
    const most = data.confusions[row.id].slice(0, 16);
    const widest = Math.max(
      ...most.map(([asked, read]) =>
        Math.max(mine.share.get(`${asked}\u0000${read}`), ceiling.share.get(`${asked}\u0000${read}`) ?? 0),
      ),
    );
    fill(
      controls,
      choice(
        "setting",
        confusionRows.map((each) => [each.key, each.label]),
        row.key,
        (key) => set({ row: key }),
      ),
    );
    const note = row.ceiling
      ? "The mark is the share among the reader's own errors on typeset text, and the last column the difference: what is left is the model's."
      : "The reader was not calibrated for this row, so its own confusions are in these numbers.";
    fill(
      table,
      otherReader([wanted]),
      kindsOfError(row),
      h(
        "table",
        { class: "confusions" },
        h(
          "tbody",
          {},
          most.map((each) => confusionLine(each, mine, ceiling, widest)),
        ),
      ),
      h("p", { class: "status" }, `${mine.total} errors among the most frequent. ${note}`),
    );
  });
  return part;
}

function tree(value) {
  if (value === null || typeof value !== "object") return h("span", { class: "leaf" }, String(value));
  const entries = Object.entries(value);
  if (!entries.length) return h("span", { class: "leaf" }, "–");
  return h(
    "dl",
    { class: "tree" },
    entries.map(([name, entry]) => [
      h("dt", {}, Array.isArray(value) ? `${Number(name) + 1}` : name),
      h("dd", {}, tree(entry)),
    ]),
  );
}

function provenanceSection() {
  const { part, body } = section(
    "provenance",
    "Provenance",
    "What ran, with which weights and settings: everything that could explain another number.",
  );
  const protocols = [...new Set(rows.map((row) => row.protocol))];
  const locked =
    protocols.length > 1
      ? `${protocols.length} protocols: rows of different ones are never ranked together.`
      : "One protocol for all rows.";
  const branches = Object.entries(data.provenance).map(([name, value], i) =>
    h("details", { open: i === 0 }, h("summary", {}, name.replaceAll("_", " ")), tree(value)),
  );
  const settings = h(
    "details",
    {},
    h("summary", {}, "settings"),
    h(
      "dl",
      { class: "tree" },
      rows.map((row) => [
        h("dt", {}, row.label),
        h("dd", {}, tree({ setting: row.id, protocol: row.protocol, ...(row.device && { "made on": row.device }), ...row.spec })),
      ]),
    ),
  );
  body.append(h("p", { class: "status" }, locked), h("div", { class: "drawers" }, branches, settings));
  return part;
}

function methodSection() {
  const { part, body } = section(
    "methods",
    "Methods",
    "Every number of this page, written from the same list that computed it.",
  );
  const line = (info) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, info.label),
      h("td", {}, `${info.description}`),
      h("td", { class: "nowrap" }, `${info.higher_is_better ? "higher" : "lower"} is better`),
      h("td", {}, info.source),
    );
  const rules = [
    "A picture that is missing or could not be read counts as wrong; every number says how many pictures it is over.",
    "Intervals are 95 %, from resampling prompts (all pictures of a prompt together), or Wilson's where each prompt has one picture.",
    "Rows are ranked by EM, only among rows with the same protocol, the same prompts and the same seeds; letters come from paired tests on EM, Holm-adjusted.",
    "Distances to reference pictures (FID, KID and their kin) order rows only when both sides have enough pictures, and only rows with the same n, reference and network; the others are shown with their n.",
    "The rows of real pictures, at the foot of the table, set n pictures of the reference against its others: what a perfect model would score.",
    "The samples of this page are a fixed choice, the same prompts and noise for every row; the numbers are over all pictures.",
  ];
  body.append(
    h(
      "ul",
      { class: "rules" },
      rules.map((rule) => h("li", {}, rule)),
    ),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        { class: "methods" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["number", "what it is", "direction", "source"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h("tbody", {}, [...data.metrics, ...COSTS.values()].map(line)),
      ),
    ),
  );
  return part;
}
