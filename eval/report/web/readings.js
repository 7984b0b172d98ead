// What was asked, what was read, and where they part: letter under letter, with the boxes on the picture.

const splitter = new Intl.Segmenter("en", { granularity: "grapheme" });
const letters = (text) => [...splitter.segment(text)].map((part) => part.segment);
const folded = (letter) => letter.normalize("NFKC").toLowerCase();
const MAX_LETTERS = 400;

// The cheapest alignment (Levenshtein): [asked, read] pairs, null where one side has nothing.
function align(asked, read) {
  const [a, b] = [asked.slice(0, MAX_LETTERS), read.slice(0, MAX_LETTERS)];
  const cost = Array.from({ length: a.length + 1 }, (_, i) => new Uint16Array(b.length + 1).fill(i));
  for (let j = 0; j <= b.length; j++) cost[0][j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const swap = cost[i - 1][j - 1] + (folded(a[i - 1]) === folded(b[j - 1]) ? 0 : 1);
      cost[i][j] = Math.min(swap, cost[i - 1][j] + 1, cost[i][j - 1] + 1);
    }
  }
  const pairs = [];
  for (let [i, j] = [a.length, b.length]; i > 0 || j > 0;) {
    const same = i > 0 && j > 0 && folded(a[i - 1]) === folded(b[j - 1]);
    if (i > 0 && j > 0 && cost[i][j] === cost[i - 1][j - 1] + (same ? 0 : 1)) pairs.push([a[--i], b[--j]]);
    else if (i > 0 && cost[i][j] === cost[i - 1][j] + 1) pairs.push([a[--i], null]);
    else pairs.push([null, b[--j]]);
  }
  return pairs.reverse();
}

const visible = (letter) => (letter === null ? "·" : letter === "\n" ? "⏎" : letter === " " ? "␣" : letter);
const kindOf = ([asked, read]) =>
  asked === null ? "added" : read === null ? "lost" : folded(asked) === folded(read) ? "same" : "swapped";
const WORDS = { added: "added", lost: "missing", swapped: "read as another" };

function ladder(sample) {
  const [asked, read] = [letters(sample.prompt.txt), letters(sample.reading)];
  if (!asked.length && !read.length)
    return h("p", { class: "quiet" }, "no text was asked for, none was read");
  const columns = align(asked, read).map((pair) => {
    const kind = kindOf(pair);
    const title = kind === "same" ? null : `${visible(pair[0])} → ${visible(pair[1])}: ${WORDS[kind]}`;
    const blank =
      pair[0] === "\n" || pair[1] === "\n" ? " line" : pair[0] === " " && pair[1] === " " ? " blank" : "";
    return h(
      "span",
      { class: `pair ${kind}${blank}`, title },
      h("b", {}, visible(pair[0])),
      h("b", {}, visible(pair[1])),
    );
  });
  const cut =
    asked.length > MAX_LETTERS || read.length > MAX_LETTERS ? h("span", { class: "quiet" }, "…") : null;
  return h(
    "div",
    {
      class: "ladder",
      role: "img",
      "aria-label": `asked: ${sample.prompt.txt}; read: ${sample.reading || "nothing"}`,
    },
    columns,
    cut,
  );
}

function boxes(sample) {
  const [width, height] = sample.size;
  const shapes = sample.lines.map(([text, confidence, corners]) => {
    const shape = s("polygon", { points: corners.join(" "), tabindex: -1 });
    return withTip(shape, () => [`“${text}”`, `confidence ${confidence.toFixed(2)}`]);
  });
  return s("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, shapes);
}

function picture(sample) {
  const image = sample.thumbnail
    ? h("img", { src: sample.thumbnail, alt: sample.prompt.capt ?? "", loading: "lazy", decoding: "async" })
    : h("span", { class: "nothing" }, "picture left out");
  const frame = h(
    "div",
    { class: "picture" },
    image,
    sample.thumbnail && state.boxes === "1" ? boxes(sample) : null,
  );
  frame.style.aspectRatio = `${sample.size[0]} / ${sample.size[1]}`;
  return frame;
}

const outcome = (sample) =>
  sample.right ? "right" : sample.reading === "" && sample.prompt.txt !== "" ? "silent" : "wrong";
const OUTCOMES = { right: "✓ right", wrong: "✗ wrong", silent: "∅ no text" };

function sampleCard(sample, name) {
  const kind = outcome(sample);
  const cer = sample.cer === null || sample.right ? "" : ` · CER ${(100 * sample.cer).toFixed(0)} %`;
  return h(
    "figure",
    { class: `sample ${kind}` },
    picture(sample),
    h(
      "figcaption",
      {},
      h(
        "div",
        { class: "verdict" },
        h("span", { class: `badge ${kind}` }, OUTCOMES[kind]),
        h("small", {}, cer),
      ),
      ladder(sample),
      name ? h("div", { class: "whose" }, name) : null,
      sample.prompt.capt ? h("div", { class: "capt" }, sample.prompt.capt) : null,
    ),
  );
}
