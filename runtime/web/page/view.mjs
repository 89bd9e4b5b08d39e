/** What the page shows: plain DOM, text only as text, styles only through classes and custom properties. */

export const $ = (id) => document.getElementById(id);

/** An element with classes and children, which are elements or text. */
export function element(tag, classes, ...children) {
  const made = document.createElement(tag);
  made.className = classes;
  made.append(...children);
  return made;
}

export function showProblem(message) {
  $("problems").replaceChildren(element("p", "problem", message));
}

export function messageOf(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 400);
}

/** By a manifest's architecture: what its variants are called. */
const TITLES = { mobilevit: "MobileViT of size", mobilevitv2: "MobileViTV2 of width" };

/** @param network what the bundle holds, in words: a function of the backbone's name. */
export function showBundle({ manifest, labels }, network, { threads }) {
  const [height, width] = manifest.preprocess.image_size;
  document.title = manifest.name;
  $("name").textContent = manifest.name;
  const what = network(`${TITLES[manifest.architecture] ?? manifest.architecture} ${manifest.variant}`);
  $("about").textContent = `${what}, ${labels.length} classes, ${width} × ${height} pixels`;
  const why = globalThis.isSecureContext ? "it is not cross-origin isolated" : "its address is neither https nor localhost";
  $("browser").textContent =
    threads > 1 ? `${threads} threads` : `One thread, slower than it could be: the page has no more, because ${why}.`;
}

/** Pixels uint8 RGB on the small canvas. */
export function showCrop(pixels, [height, width], name) {
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (let i = 0; i < width * height; i++) image.data.set(pixels.subarray(i * 3, i * 3 + 3), i * 4);
  const canvas = $("crop");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", `What the network sees of ${name}`);
  $("crop-says").textContent = `What the network sees of ${name}: ${width} × ${height} pixels`;
}

/** A column for an engine: its heading, its model files to choose from, room for answers. */
export function engineColumn({ pack, files }, version, artifacts, changed) {
  const column = $("engine").content.firstElementChild.cloneNode(true);
  column.querySelector("h3").textContent = `${pack} ${version}`;
  const select = column.querySelector("select");
  select.append(...artifacts.map(({ file }) => new Option(file.path)));
  select.addEventListener("change", changed);
  if (!artifacts.length) {
    column.querySelector("label").hidden = true;
    showColumnProblem(column, `This bundle has no ${files} file; export it with --format ${files.toLowerCase()}.`);
  }
  $("engines").append(column);
  return column;
}

export function showColumnProblem(column, message) {
  const place = column.querySelector(".problem");
  place.textContent = message;
  place.hidden = !message;
  if (!message) return;
  column.querySelector(".answer").replaceChildren();
  column.querySelector(".time").textContent = "";
}

export function showTime(column, { median, first, threads }) {
  column.querySelector(".time").textContent =
    `${median.toFixed(1)} ms an inference (median; the first ${first.toFixed(1)} ms), ${threads}`;
}

export function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** An empty table of the check; rows are added as they come. */
export function checkTable([absolute, relative, same]) {
  const names = ["file", "verdict", absolute, relative, "accepted", same];
  const body = document.createElement("tbody");
  const head = element("tr", "", ...names.map((name) => Object.assign(element("th", "", name), { scope: "col" })));
  $("check-table").replaceChildren(element("table", "", element("thead", "", head), body));
  $("check-table").hidden = false;
  return body;
}

export function checkRow(body, name, verdict, cells) {
  const title = Object.assign(element("th", "", name), { scope: "row" });
  const state = element("td", verdict === "ok" ? "" : "bad", verdict);
  body.append(element("tr", "", title, state, ...cells.map((cell) => element("td", "", cell))));
}
