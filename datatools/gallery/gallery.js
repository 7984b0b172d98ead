"use strict";
// Strangers' words reach the page through textContent and attributes of shapes alone, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const filters = document.getElementById("filters");
const cards = document.getElementById("cards");
const more = document.getElementById("more");
const PAGE = 120;
let shown = [];

const shape = (name) => document.getElementById("shapes").content.querySelector(name).cloneNode();

function overlay(svg, picture) {
  svg.setAttribute("viewBox", `0 0 ${picture.width_px} ${picture.height_px}`);
  for (const line of picture.lines) {
    const polygon = shape("polygon");
    polygon.setAttribute("points", line.polygon.map((point) => point.join(",")).join(" "));
    if (line.confidence < 0.5) polygon.classList.add("unsure");
    svg.append(polygon);
  }
  if (picture.safebox) {
    const [left, top, right, bottom] = picture.safebox;
    const rect = shape("rect");
    for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
      rect.setAttribute(name, value);
    }
    svg.append(rect);
  }
}

function facts(picture) {
  const said = picture.confidence === null ? "" : ` ${picture.confidence.toFixed(2)}`;
  return `${picture.width_px}×${picture.height_px} · ${picture.source}${said}`;
}

function card(picture) {
  const element = document.getElementById("card").content.cloneNode(true).firstElementChild;
  if (picture.thumbnail) element.querySelector("img").src = picture.thumbnail;
  else element.querySelector(".frame").remove();
  element.querySelector(".text").textContent = picture.text;
  element.querySelector(".caption").textContent = picture.captions.length ? picture.captions[0] : "";
  element.querySelector(".name").textContent = picture.key;
  element.querySelector(".facts").textContent = facts(picture);
  const svg = element.querySelector("svg");
  if (svg) overlay(svg, picture);
  const frame = element.querySelector(".frame");
  if (frame) {
    // A strip of 8 × 4000 pixels would push all others off the page; enlarged, it may be as tall as it is.
    frame.style.setProperty("--most", `max(2px, calc(24rem * ${picture.width_px / picture.height_px}))`);
    frame.addEventListener("click", () => enlarge(picture));
  }
  return element;
}

function failure(row) {
  const element = document.getElementById("card").content.cloneNode(true).firstElementChild;
  element.querySelector(".frame").remove();
  element.classList.add("failure");
  element.querySelector(".text").textContent = row.cause;
  element.querySelector(".name").textContent = row.key;
  element.querySelector(".facts").textContent = row.detail ?? "";
  return element;
}

function enlarge(picture) {
  const large = document.getElementById("large");
  const whole = card(picture);
  const table = document.createElement("table");
  for (const line of picture.lines) {
    const row = table.insertRow();
    for (const value of [line.text, line.confidence.toFixed(3), line.engine]) row.insertCell().textContent = value;
  }
  whole.querySelector(".caption").textContent = picture.captions.join(" · ");
  large.replaceChildren(whole, table);
  document.getElementById("detail").showModal();
}

function matches(picture, wanted) {
  const words = [picture.key, picture.text, ...picture.captions].join("\n").toLowerCase();
  if (!words.includes(wanted.q.toLowerCase())) return false;
  if (picture.confidence !== null && picture.confidence > Number(wanted.max)) return false;
  if (wanted.show === "text") return picture.text !== "";
  if (wanted.show === "empty") return picture.text === "";
  return wanted.show !== "given" || picture.source === "given";
}

const ORDERS = {
  key: (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
  confidence: (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2),
  lines: (a, b) => b.lines.length - a.lines.length,
  length: (a, b) => b.text.length - a.text.length,
};

function state() {
  return Object.fromEntries(new FormData(filters).entries());
}

function draw() {
  const next = shown.slice(cards.childElementCount, cards.childElementCount + PAGE);
  cards.append(...next.map((item) => (item.cause ? failure(item) : card(item))));
  more.hidden = cards.childElementCount >= shown.length;
}

function counted(failures) {
  const here = failures ? data.failures.length : data.pictures.length;
  const all = failures ? data.n_failures : data.n_usable;
  const sample = here < all ? (failures ? ", the first of " : ", a sample of ") + all : "";
  const failed = failures || !data.n_failures ? "" : ` · ${data.n_failures} failed`;
  return `${shown.length} of ${here} ${failures ? "failures" : "pictures"}${sample}${failed}`;
}

function refresh() {
  const wanted = state();
  document.getElementById("limit").value = Number(wanted.max).toFixed(2);
  document.body.classList.toggle("no-boxes", !wanted.boxes);
  if (wanted.show === "failures") {
    shown = data.failures.filter((row) => `${row.key}\n${row.cause}`.toLowerCase().includes(wanted.q.toLowerCase()));
  } else {
    shown = data.pictures.filter((picture) => matches(picture, wanted)).sort(ORDERS[wanted.order]);
  }
  cards.replaceChildren();
  draw();
  document.getElementById("count").textContent = counted(wanted.show === "failures");
}

// The filters stand in the address, so that a view can be kept and passed on.
function fromAddress() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const field = filters.elements.namedItem(name);
    if (field && field.type !== "checkbox") field.value = value;
    else if (field) field.checked = value === "on";
  }
  refresh();
}

filters.addEventListener("input", () => {
  const wanted = { boxes: "off", ...state() };
  history.replaceState(null, "", `#${new URLSearchParams(wanted)}`);
  refresh();
});
filters.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", draw);
window.addEventListener("hashchange", fromAddress);
fromAddress();
