/**
 * What a page does around a mvit2 model: decoded pixels -> the model's input, and its scores -> the best classes.
 *
 * The pixels are those of mvit2.image.preprocess in Python, bit for bit: the antialiased resize of Pillow 13 (two
 * passes in fixed point, after libImaging/Resample.c) and a centre crop. Decoding and EXIF orientation are the
 * browser's business: hand over upright pixels, such as the data of a canvas. No dependencies; browsers and Node.
 *
 *     const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
 *     const pixels = preprocess(data, width, height, 4, manifest.preprocess);
 *     const [best] = topK(scores, 5);
 *
 * Line for line the same as the C sources. SPDX-License-Identifier: MIT
 */

/** Largest picture, before and after the resize, in pixels (134 megapixels). */
export const MAX_PIXELS = 2 ** 27;
/** Longest edge, in pixels, that a spec may ask for. */
export const MAX_EDGE = 8192;

// Weights are whole numbers of 2^-22: 32 bits less 8 of the pixel, and 2 because bicubic weights overshoot 0..1.
const PRECISION = 22;

// ---- weights ----

function bilinear(distance) {
  const x = Math.abs(distance);
  return x < 1 ? 1 - x : 0;
}

/** Keys' cubic convolution with a = -0.5. */
function bicubic(distance) {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Beyond the distance of its support a kernel is 0. */
const FILTERS = new Map([
  ["bilinear", { support: 1, kernel: bilinear }],
  ["bicubic", { support: 2, kernel: bicubic }],
]);

function fixedPoint(weight) {
  return Math.trunc(weight * 2 ** PRECISION + (weight < 0 ? -0.5 : 0.5));
}

/** Fill in first, taps and weights. */
function weigh(axis, filter) {
  const support = filter.support * axis.stretch;
  const shrink = 1 / axis.stretch;
  for (let i = 0; i < axis.count; i++) {
    const centre = (axis.begin + i + 0.5) * axis.scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const taps = Math.min(axis.in, Math.trunc(centre + support + 0.5)) - first;
    let total = 0;
    for (let t = 0; t < taps; t++) total += filter.kernel((t + first - centre + 0.5) * shrink);
    for (let t = 0; t < taps; t++) {
      axis.weights[i * axis.stride + t] = fixedPoint(filter.kernel((t + first - centre + 0.5) * shrink) / total);
    }
    axis.first[i] = first;
    axis.taps[i] = taps;
  }
}

/** Resize an edge to out pixels and show wanted of them: the middle, rounded down, zeros around what is smaller. */
function openAxis(edge, out, wanted, filter) {
  const scale = edge === out ? 1 : Math.fround(edge) / out; // Pillow keeps the size as float: coarse above 2^24
  const stretch = Math.max(1, scale); // a smaller picture averages over more pixels
  const stride = 2 * Math.ceil(filter.support * stretch) + 1; // weights kept for each resized pixel
  const count = Math.min(out, wanted);
  const axis = {
    in: edge,
    out,
    begin: out > wanted ? Math.floor((out - wanted) / 2) : 0, // the first resized pixel that the crop shows
    count, // how many it shows
    pad: out > wanted ? 0 : Math.ceil((wanted - out) / 2), // zeros before them
    stride,
    scale,
    stretch,
    first: new Int32Array(count), // the first input pixel that a resized pixel sees
    taps: new Int32Array(count), // how many it sees
    weights: new Int32Array(count * stride), // in units of 2^-PRECISION
  };
  weigh(axis, filter);
  return axis;
}

// ---- the two passes ----

/** The weighted mean of bytes that lie step apart, rounded, clipped to 0..255. */
function blend(bytes, from, step, weights, offset, taps) {
  let sum = 1 << (PRECISION - 1);
  for (let t = 0; t < taps; t++) sum += bytes[from + t * step] * weights[offset + t];
  return sum < 0 ? 0 : Math.min(255, sum >> PRECISION);
}

/** One pass; p says where its pixels lie, in bytes, along the axis that it resizes and across, from line to line. */
function resample(p, axis) {
  for (let i = 0; i < axis.count; i++) {
    for (let line = 0; line < p.lines; line++) {
      const from = p.fromStart + axis.first[i] * p.fromAlong + line * p.fromAcross;
      const to = p.toStart + i * p.toAlong + line * p.toAcross;
      for (let c = 0; c < 3; c++) {
        p.to[to + c] = blend(p.from, from + c, p.fromAlong, axis.weights, i * axis.stride, axis.taps[i]);
      }
    }
  }
}

/** Both passes, in Pillow 13's order: each pass rounds, so the order decides about bits. */
function resize({ pixels, width, channels }, x, y, output, outWidth) {
  const shorter = y.in - y.out;
  const verticalFirst = shorter > 0 && shorter > 2 * (x.in - x.out);
  const [first, second] = verticalFirst ? [y, x] : [x, y];
  const begin = second.first[0]; // of the lines, the second pass needs only these
  const last = second.count - 1;
  const lines = second.first[last] + second.taps[last] - begin;
  const rows = new Uint8Array(lines * first.count * 3);
  for (let i = 0; i < second.count; i++) second.first[i] -= begin;

  const row = channels * width;
  const outRow = 3 * outWidth;
  const line = 3 * first.count;
  const [fromAlong, fromAcross] = verticalFirst ? [row, channels] : [channels, row];
  const [toAlong, toAcross] = verticalFirst ? [3, outRow] : [outRow, 3];
  const source = { from: pixels, fromStart: begin * fromAcross, fromAlong, fromAcross };
  const target = { to: output, toStart: y.pad * outRow + x.pad * 3, toAlong, toAcross };
  resample({ ...source, to: rows, toStart: 0, toAlong: 3, toAcross: line, lines }, first);
  resample({ from: rows, fromStart: 0, fromAlong: line, fromAcross: 3, ...target, lines: first.count }, second);
}

// ---- sizes ----

function refusal(name, value, accepted) {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  return new RangeError(`${name} = ${shown.slice(0, 80)} cannot be used; accepted: ${accepted}`);
}

function tooLarge(...sizes) {
  return new RangeError(
    `the picture is too large, or too long and thin (${sizes.join(" -> ")}); accepted: at most ${MAX_PIXELS} ` +
      "pixels before and after the resize; make it smaller or crop it first",
  );
}

function isEdge(pixels) {
  return Number.isInteger(pixels) && 1 <= pixels && pixels <= MAX_EDGE;
}

function checkSize(name, size) {
  if (!Array.isArray(size) || size.length !== 2 || !size.every(isEdge)) {
    throw refusal(name, size, `[height, width], each 1..${MAX_EDGE}`);
  }
}

function checkSpec(spec) {
  if (typeof spec !== "object" || spec === null) throw refusal("spec", spec, '"preprocess" of a manifest');
  const { image_size, resize_shortest = null, resize_exact = null, resample } = spec;
  checkSize("image_size", image_size);
  if (resize_exact !== null) checkSize("resize_exact", resize_exact);
  if (resize_shortest !== null && !isEdge(resize_shortest)) {
    throw refusal("resize_shortest", resize_shortest, `null, 1..${MAX_EDGE}`);
  }
  if (resize_shortest !== null && resize_exact !== null) {
    throw refusal("resize_exact", resize_exact, "null beside a resize_shortest");
  }
  if (!FILTERS.has(resample)) throw refusal("resample", resample, [...FILTERS.keys()].join(", "));
}

function checkEdges(width, height) {
  if (!Number.isInteger(width) || width < 1) throw refusal("width", width, "1 or more");
  if (!Number.isInteger(height) || height < 1) throw refusal("height", height, "1 or more");
  if (width * height > MAX_PIXELS) throw tooLarge(`${width}x${height}`);
}

function checkPixels({ pixels, width, height, channels }) {
  if (channels !== 3 && channels !== 4) throw refusal("channels", channels, "3 (RGB), 4 (RGBA)");
  checkBytes(pixels, width * height * channels);
}

function checkBytes(pixels, length) {
  if (!(pixels instanceof Uint8Array || pixels instanceof Uint8ClampedArray)) {
    throw refusal("pixels", Object.prototype.toString.call(pixels), "a Uint8Array or Uint8ClampedArray");
  }
  if (pixels.length !== length) throw refusal("pixels.length", pixels.length, `${length}`);
}

function resized(width, height, { resize_shortest: shortest, resize_exact: exact }) {
  if (exact) return exact;
  if (!shortest) return [height, width];
  if (width <= height) return [Math.floor((shortest * height) / width), shortest];
  return [shortest, Math.floor((shortest * width) / height)];
}

// ---- the interface ----

export function resizedSize(width, height, spec) {
  checkSpec(spec);
  checkEdges(width, height);
  const [tall, wide] = resized(width, height, spec);
  if (tall * wide > MAX_PIXELS) throw tooLarge(`${width}x${height}`, `${wide}x${tall}`);
  return [tall, wide];
}

export function preprocess(pixels, width, height, channels, spec) {
  const picture = { pixels, width, height, channels };
  const [tall, wide] = resizedSize(width, height, spec);
  checkPixels(picture);

  const filter = FILTERS.get(spec.resample);
  const x = openAxis(width, wide, spec.image_size[1], filter);
  const y = openAxis(height, tall, spec.image_size[0], filter);
  const output = new Uint8Array(spec.image_size[0] * spec.image_size[1] * 3);
  resize(picture, x, y, output, spec.image_size[1]);
  return output;
}

export function pixelValues(pixels, spec) {
  checkSpec(spec);
  const { image_size, channel_order, scale, mean = [0, 0, 0], std = [1, 1, 1] } = spec;
  if (channel_order !== "RGB" && channel_order !== "BGR") throw refusal("channel_order", channel_order, "RGB, BGR");
  if (!(Number.isFinite(scale) && scale > 0)) throw refusal("scale", scale, "a finite number above 0");
  if (!(mean?.length === 3 && mean.every(Number.isFinite))) throw refusal("mean", mean, "three finite numbers");
  if (!(std?.length === 3 && std.every((value) => Number.isFinite(value) && value > 0))) {
    throw refusal("std", std, "three finite numbers above 0");
  }
  const plane = image_size[0] * image_size[1];
  checkBytes(pixels, plane * 3);
  const values = new Float32Array(plane * 3);
  for (let c = 0; c < 3; c++) {
    const from = channel_order === "BGR" ? 2 - c : c;
    const seen = Float32Array.from({ length: 256 }, (_, value) => (value * scale - mean[from]) / std[from]);
    for (let i = 0; i < plane; i++) values[c * plane + i] = seen[pixels[i * 3 + from]];
  }
  return values;
}

function checkScores(scores) {
  if (!(scores?.length >= 1)) throw refusal("scores", scores, "1 number or more");
  for (let i = 0; i < scores.length; i++) {
    if (!Number.isFinite(scores[i])) {
      throw refusal(`score of class ${i}`, scores[i], "finite numbers; the model is broken: check its checkpoint");
    }
  }
}

export function softmax(logits) {
  checkScores(logits);
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
  const total = powers.reduce((a, b) => a + b);
  return Float32Array.from(powers, (power) => power / total);
}

export function topK(scores, k) {
  checkScores(scores);
  if (!Number.isInteger(k) || k < 1) throw refusal("k", k, "1 or more");
  const order = Array.from(scores, (score, index) => ({ index, score }));
  return order.sort((a, b) => b.score - a.score).slice(0, k); // stable: of equal scores the lower index stays first
}
