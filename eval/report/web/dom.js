// Elements are made from names, attributes and text nodes; no string is ever parsed as markup.

const SVG = document.getElementById("svg").namespaceURI;

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return element;
}

const h = (tag, attributes = {}, ...children) => make(document.createElement(tag), attributes, children);

const s = (tag, attributes = {}, ...children) =>
  make(document.createElementNS(SVG, tag), attributes, children);

function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined));
}

function choice(label, options, value, change) {
  const select = h("select", { "aria-label": label, onchange: (event) => change(event.target.value) });
  for (const [key, text] of options)
    select.append(h("option", { value: key, selected: key === value }, text));
  return h("label", { class: "field" }, h("span", {}, label), select);
}

function toggle(label, pressed, click, title) {
  return h(
    "button",
    { type: "button", class: "toggle", "aria-pressed": String(pressed), title, onclick: click },
    label,
  );
}

// One tooltip for the page: for a pointer over it and for the keyboard's focus alike.
const tip = document.getElementById("tip");

function showTip(target, lines) {
  fill(
    tip,
    lines.map((line) => h("div", {}, line)),
  );
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  const left = Math.min(
    Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2),
    innerWidth - tip.offsetWidth - 8,
  );
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
}

function hideTip() {
  tip.hidden = true;
}

function withTip(element, lines) {
  const show = () => showTip(element, lines());
  element.addEventListener("pointerenter", show);
  element.addEventListener("focus", show);
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("blur", hideTip);
  return element;
}

function section(id, title, intro) {
  const body = h("div", { class: "body" });
  const heading = h("h2", { id: `${id}-title` }, title);
  const part = h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    heading,
    intro && h("p", { class: "intro" }, intro),
    body,
  );
  return { part, body };
}
