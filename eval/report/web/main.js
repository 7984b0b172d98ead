// The page: head, parts in order of use, keys, theme.

const PARTS = [
  ["board", "Leaderboard", tableSection],
  ["tradeoff", "Trade-offs", tradeoffSection],
  ["compare", "Side by side", compareSection],
  ["samples", "Samples", wallSection],
  ["heat", "Sampler grid", heatSection],
  ["lengths", "By length", lengthSection],
  ["kinds", "By kind", kindSection],
  ["readers", "Readers", readerSection],
  ["confusions", "Confusions", confusionSection],
  ["provenance", "Provenance", provenanceSection],
  ["methods", "Methods", methodSection],
];

function themeNow() {
  return state.theme === "auto"
    ? matchMedia("(prefers-color-scheme: dark)").matches
      ? "dark"
      : "light"
    : state.theme;
}

function drawTheme() {
  document.documentElement.dataset.theme = themeNow();
}

function tile(what, big, small, who) {
  return h(
    "div",
    { class: "tile" },
    h("div", { class: "what" }, what),
    h("div", { class: "big" }, big, small ? h("small", {}, ` ${small}`) : null),
    h("div", { class: "who" }, who),
  );
}

function bestTile() {
  const best = rows[0];
  if (!best || !headline || !hasValue(scoreOf(best, headline))) return null;
  const score = scoreOf(best, headline);
  const tied = rows.filter(
    (row) =>
      row !== best && !isForeign(row) && best.tie && [...row.tie].some((letter) => best.tie.includes(letter)),
  );
  if (!(score.value > 0) && infoOf(headline).higher_is_better)
    return tile(
      `best ${infoOf(headline).label}${data.conditions.length ? " shown" : ""}`,
      `${number(score.value, headline)} ${unitOf(headline)}`.trim(),
      interval(score, headline),
      "no setting has written a text right yet",
    );
  const who = tied.length ? `${best.label}; ${tied.length} more cannot be told apart from it` : best.label;
  return tile(
    `best ${infoOf(headline).label}${data.conditions.length ? " shown" : ""}`,
    `${number(score.value, headline)} ${unitOf(headline)}`.trim(),
    interval(score, headline),
    who,
  );
}

function fastTile() {
  const known = rows.filter(
    (row) => !isForeign(row) && row.seconds !== null && headline && hasValue(scoreOf(row, headline)),
  );
  const best = rows[0];
  if (!known.length || !best.tie || !(scoreOf(best, headline).value > 0)) return null;
  // Among the rows that cannot be told apart from the best, the cheapest is the one to use.
  const tied = known.filter((row) => [...row.tie].some((letter) => best.tie.includes(letter)));
  const fast = tied.toSorted((a, b) => a.seconds - b.seconds)[0];
  if (!fast) return null;
  return tile("as good, and fastest", number(fast.seconds, "seconds"), "s a picture", fast.label);
}

function countTile() {
  const { expected = 0, done = 0, no_text: silent = 0, failed = 0 } = data.counts;
  return tile(
    "pictures scored",
    `${done} / ${expected}`,
    "",
    `${silent} without any readable text, ${failed} failed; a missing picture counts as wrong`,
  );
}

function headSection() {
  const n = new Set(rows.map((row) => row.id)).size;
  const named = `${n} ${n === 1 ? "setting" : "settings"}`;
  const settings = n === rows.length ? named : `${rows.length} rows of ${named}`;
  const only = data.conditions.length
    ? `Only rows with ${data.conditions.join(" and ")}; ranks, ties and intervals of ranks are those among all rows. `
    : "";
  const reader = rows.some((row) => row.protocol !== first.protocol)
    ? "Rows of different protocols stand apart."
    : `Every picture was read by the same reader${first?.reader ? ` (${first.reader})` : ""}.`;
  fill(
    document.getElementById("top"),
    h("h1", {}, "Who can spell?"),
    h(
      "p",
      { class: "lead" },
      `${settings}, suite ${data.suite || "unnamed"}. ${only}${reader} Every number says how sure it is.`,
    ),
    h("div", { class: "tiles" }, bestTile(), fastTile(), countTile()),
  );
}

function navigation(parts) {
  const buttons = parts.map(([id, label]) =>
    h(
      "button",
      {
        type: "button",
        "data-part": id,
        onclick: () => document.getElementById(id).scrollIntoView({ behavior: "smooth" }),
      },
      label,
    ),
  );
  const theme = h(
    "button",
    { type: "button", id: "theme", onclick: switchTheme, "aria-label": "Light or dark" },
    "◐",
  );
  fill(
    document.getElementById("nav"),
    h(
      "div",
      {},
      buttons,
      h("span", { class: "grow" }),
      theme,
      h("button", { type: "button", onclick: showHelp, "aria-label": "Keys" }, "?"),
    ),
  );
  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries)
        if (entry.isIntersecting)
          for (const button of buttons)
            button.setAttribute("aria-current", String(button.dataset.part === entry.target.id));
    },
    { rootMargin: "-30% 0px -65% 0px" },
  );
  for (const [id] of parts) watch.observe(document.getElementById(id));
}

const switchTheme = () => set({ theme: themeNow() === "dark" ? "light" : "dark" });

const KEYS = [
  ["/", "filter the rows"],
  ["↑ ↓", "move between rows"],
  ["a, b", "choose the row for a comparison"],
  ["Enter", "samples of the row"],
  ["1 … 9", "go to a part of the page"],
  ["t", "light or dark"],
  ["?", "this help"],
];

function showHelp() {
  const dialog = document.getElementById("help");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  fill(
    dialog,
    h("h2", {}, "Keys"),
    h(
      "dl",
      { class: "keys" },
      KEYS.map(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]),
    ),
    close,
  );
  dialog.showModal();
}

function pageKey(event) {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.target.closest("input, select, textarea, dialog")
  )
    return;
  const part = document.querySelectorAll("#nav [data-part]")[Number(event.key) - 1];
  if (event.key === "/") document.getElementById("search").focus();
  else if (event.key === "t") switchTheme();
  else if (event.key === "?") showHelp();
  else if (part) part.click();
  else return;
  event.preventDefault();
}

// Safari has no idle callbacks; a page that is never idle goes on all the same.
const whenIdle = (work) =>
  globalThis.requestIdleCallback ? requestIdleCallback(() => work(), { timeout: 100 }) : setTimeout(work);

// A part, its views drawn; null when the board has nothing for it.
function addPart([id, label, build]) {
  const nKnown = views.length;
  const part = build();
  if (!part) return null;
  document.getElementById("main").append(part);
  for (const { draw } of views.slice(nKnown)) draw();
  return [id, label];
}

// The other parts follow when the page has nothing else to do: what the reader does comes first.
function addParts(waiting, added, done) {
  if (!waiting.length) return done(added.filter(Boolean));
  const next = [...added, addPart(waiting[0])];
  whenIdle(() => addParts(waiting.slice(1), next, done));
}

function start() {
  drawTheme();
  view(["theme"], drawTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTheme);
  headSection();
  addEventListener("keydown", pageKey);
  // What was never scrolled to is on the paper all the same.
  addEventListener("beforeprint", () => {
    for (const picture of document.querySelectorAll("img[loading=lazy]")) picture.loading = "eager";
  });
  addEventListener("scroll", hideTip, { passive: true });
  const table = addPart(PARTS[0]);
  const others = () => {
    readSamples();
    addParts(PARTS.slice(1), [table], finish);
  };
  // The table can be used while the browser still reads the samples, which stand after this script.
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", () => whenIdle(others));
  else others();
}

function finish(parts) {
  navigation(parts);
  fill(
    document.getElementById("footer"),
    "Drawn from the stored pictures and readings alone; the same store gives the same page, byte for byte.",
  );
}

start();
