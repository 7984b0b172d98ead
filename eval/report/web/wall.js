// The wall of samples: pictures with what was read of them; by row, or every row's picture of one prompt.

const PAGE = 48;

function wallSamples() {
  const row = chosen("row");
  const words = state.find.toLowerCase();
  return (row ? samplesOf(row) : samples).filter(
    (sample) =>
      sample.row >= 0 &&
      (state.outcome === "all" || outcome(sample) === state.outcome) &&
      (!state.stratum || sample.prompt.stratum === state.stratum) &&
      (!words ||
        `${sample.prompt.txt}\n${sample.reading}\n${sample.prompt.capt ?? ""}`.toLowerCase().includes(words)),
  );
}

const rowName = (sample) => h("span", {}, swatch(rows[sample.row]), rows[sample.row].label);

// Every row's picture from the same prompt and the same noise: what the setting alone changes.
function alignedGroup(sample) {
  const peers = samples
    .filter((other) => cellKey(other) === cellKey(sample) && other.row >= 0)
    .toSorted((a, b) => a.row - b.row);
  const right = peers.filter((other) => other.right).length;
  return h(
    "div",
    { class: "aligned" },
    h(
      "h3",
      {},
      h("q", {}, sample.prompt.txt.replaceAll("\n", " ⏎ ") || "(no text)"),
      h("small", {}, ` ${sample.prompt.stratum} · seed ${sample.seed} · ${right} of ${peers.length} right`),
    ),
    h(
      "div",
      { class: "wall" },
      peers.map((other) => sampleCard(other, rowName(other))),
    ),
  );
}

function drawWall(body) {
  const elsewhere = otherReader([chosen("row")]);
  if (elsewhere) return fill(body, elsewhere);
  const found = wallSamples();
  const pages = Number(state.more) || 1;
  const right = found.filter((sample) => sample.right).length;
  const status = h(
    "p",
    { class: "status", role: "status" },
    `${found.length} samples, ${right} right${found.length ? ` (${((100 * right) / found.length).toFixed(0)} %)` : ""}.`,
  );
  if (state.align === "1") {
    const cells = [...new Map(found.map((sample) => [cellKey(sample), sample])).values()];
    fill(
      body,
      status,
      cells.slice(0, 4 * pages).map(alignedGroup),
      moreButton(cells.length - 4 * pages, "prompts"),
    );
  } else {
    const name = (sample) => (chosen("row") ? null : rowName(sample));
    fill(
      body,
      status,
      h(
        "div",
        { class: "wall" },
        found.slice(0, PAGE * pages).map((sample) => sampleCard(sample, name(sample))),
      ),
      moreButton(found.length - PAGE * pages, "samples"),
    );
  }
}

function moreButton(left, what) {
  if (left <= 0) return null;
  return h(
    "button",
    { type: "button", class: "more", onclick: () => set({ more: Number(state.more) + 1 }) },
    `Show more (${left} ${what} left)`,
  );
}

function wallControls(controls) {
  const restart = (changes) => set({ ...changes, more: 1 });
  const shown = rows.filter((row) => samplesOf(row).length || row === chosen("row"));
  const find = h("input", {
    type: "search",
    id: "find",
    placeholder: "in text or reading",
    "aria-label": "Find in samples",
    value: state.find,
    oninput: (event) => restart({ find: event.target.value }),
  });
  fill(
    controls,
    choice("setting", [["", "all settings"], ...shown.map((row) => [row.key, nameOf(row)])], state.row, (row) =>
      restart({ row }),
    ),
    choice(
      "outcome",
      [
        ["all", "all"],
        ["right", "right"],
        ["wrong", "wrong"],
        ["silent", "no text"],
      ],
      state.outcome,
      (value) => restart({ outcome: value }),
    ),
    choice(
      "kind of text",
      [["", "all kinds"], ...strata.map((name) => [name, name])],
      state.stratum,
      (stratum) => restart({ stratum }),
    ),
    h("label", { class: "field" }, h("span", {}, "find"), find),
    toggle(
      "same prompt, all rows",
      state.align === "1",
      () => restart({ align: state.align === "1" ? 0 : 1 }),
      "Every row's picture of one prompt and one noise",
    ),
    toggle(
      "boxes",
      state.boxes === "1",
      () => set({ boxes: state.boxes === "1" ? 0 : 1 }),
      "Where the reader found text",
    ),
  );
}

function wallSection() {
  if (!samples.length) return null;
  const { part, body } = section(
    "samples",
    "Samples",
    "Above each rung what was asked, below it what was read. Case is not counted.",
  );
  const controls = h("div", { class: "controls" });
  const wall = h("div", {});
  body.append(controls, wall);
  view(["row", "outcome", "stratum", "align", "boxes"], () => wallControls(controls));
  view(["row", "outcome", "stratum", "align", "boxes", "find", "more"], () => drawWall(wall));
  view(["find"], () => {
    const input = document.getElementById("find");
    if (input.value !== state.find) input.value = state.find;
  });
  return part;
}
