"use strict";
const sections = [...document.querySelectorAll("section")];
const field = (value) => `"${value.replaceAll('"', '""')}"`;

function answers() {
  return sections.map((section) => ({
    picture: section.dataset.picture,
    text: section.querySelector("textarea").value,
    no_text: section.querySelector("input").checked ? "x" : "",
  }));
}

function count() {
  const n = answers().filter((answer) => answer.text.trim() || answer.no_text).length;
  document.getElementById("count").textContent = `${n} of ${sections.length} answered`;
}

function table() {
  const rows = answers().map((answer) => [answer.picture, answer.text, answer.no_text].map(field).join(","));
  return ["picture,text,no_text", ...rows, ""].join("\n");
}

document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "audit.csv";
  link.click();
});
document.addEventListener("input", count);
count();
