/** A segmentation network on the page: the classes' colours over the picture, and which there are. See tasks.mjs. */
import { Mvit2Segmenter, overlay } from "./mvit2/segmenter.mjs";
import { element, percent } from "./view.mjs";

const LONGEST = 800; // edge of the picture that is shown, in pixels; the answer is about the whole one
const [FEW, MANY] = [3, 12]; // how many classes are named: in the line of results, and of an image

const opacity = Object.assign(element("input", ""), { id: "opacity", type: "range", min: 0, max: 1, step: 0.05, value: 0.5 });
const shown = new Map(); // place -> a function that paints its canvas

function setUp(place) {
  opacity.addEventListener("input", () => shown.forEach((paint) => paint()));
  place.replaceChildren(element("label", "", "Opacity of the colours ", opacity));
}

/** No larger than it is shown. */
async function keep(image) {
  const scale = LONGEST / Math.max(image.width, image.height);
  if (scale >= 1) return image;
  const [width, height] = [image.width, image.height].map((edge) => Math.max(1, Math.round(edge * scale)));
  const small = await createImageBitmap(image, { resizeWidth: width, resizeHeight: height, resizeQuality: "medium" });
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(small, 0, 0);
  small.close();
  return context.getImageData(0, 0, width, height);
}

function show(place, found, { name, kept }) {
  const { width, height } = kept;
  const canvas = Object.assign(element("canvas", "overlay"), { width, height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${name} with its classes in colours. ${say(found, MANY)}`);
  const paint = () => {
    const pixels = overlay(kept, found, opacity.valueAsNumber);
    canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  };
  shown.set(place, paint);
  paint();
  place.replaceChildren(canvas, legend(found));
}

/** The classes that are there, the largest first, and what the network did not see. */
function legend({ classes, colors, box: [left, top, right, bottom], width, height }) {
  const lines = classes.map(({ index, label, share }) => entry(colors[index], label, share));
  const unseen = 1 - ((right - left) * (bottom - top)) / (width * height);
  if (unseen > 0) lines.push(entry(null, "(not seen)", unseen));
  return element("ul", "legend", ...lines);
}

/** A chip is empty where the picture is left as it is: not seen, or of a black class. */
function entry(color, label, share) {
  const chip = element("span", "chip");
  if (color && color !== "#000000") chip.style.setProperty("--chip", color);
  return element("li", "", chip, element("span", "", label), element("span", "", percent(share)));
}

function say({ classes }, most = FEW) {
  if (!classes.length) return "nothing of the picture was seen";
  const named = classes.slice(0, most).map(({ label, share }) => `${label} ${percent(share)}`);
  return `${classes.length} ${classes.length === 1 ? "class" : "classes"}: ${named.join(", ")}`;
}

export const SEGMENT = {
  model: Mvit2Segmenter,
  network: (backbone) => `DeepLabV3 on ${backbone}`,
  verb: "Segment",
  setUp,
  keep,
  read: (model, scores, size) => model.onPicture(scores, size),
  show,
  say: (found) => say(found),
};
