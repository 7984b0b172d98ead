// What the reader chose. It lives in the address after "#", so a view can be kept and passed on.

const defaults = {
  sort: "rank",
  down: "0",
  q: "",
  columns: "",
  x: "",
  y: "",
  logx: "auto",
  heat: "",
  a: "",
  b: "",
  row: "",
  outcome: "all",
  stratum: "",
  find: "",
  align: "1",
  boxes: "1",
  theme: "auto",
  more: "1",
};
const state = { ...defaults, ...Object.fromEntries(readHash()) };

function readHash() {
  const known = [...new URLSearchParams(location.hash.slice(1))];
  return known.filter(([name]) => Object.hasOwn(defaults, name));
}

// Each view says which choices it depends on; a change redraws those views alone.
const views = [];
const view = (names, draw) => views.push({ names: new Set(names), draw });

function redraw(names) {
  hideTip();
  for (const { names: wanted, draw } of views) if (names.some((name) => wanted.has(name))) draw();
}

function set(changes) {
  const changed = Object.keys(changes).filter((name) => state[name] !== String(changes[name]));
  if (!changed.length) return;
  for (const name of changed) state[name] = String(changes[name]);
  const kept = Object.entries(state).filter(([name, value]) => value !== defaults[name]);
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  redraw(changed);
}

addEventListener("hashchange", () => {
  Object.assign(state, defaults, Object.fromEntries(readHash()));
  redraw(Object.keys(defaults));
});

// A row by its id in the address; null when it is not, or no longer, on the board.
const chosen = (name) => rows.find((row) => row.key === state[name]) ?? null;
