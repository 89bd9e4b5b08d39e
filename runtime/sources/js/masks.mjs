/**
 * From a segmentation network's answer back to the picture: the class of every pixel, and its colour.
 *
 * As mvit2.runtime.segmenter.on_picture in Python: resize and crop of the preprocessing are undone, logits interpolated
 * bilinearly (align_corners=False), the largest taken; of equal ones the lower index wins. Row by row: there are never
 * as many logits as the picture has pixels. No dependencies; browsers and Node.
 *
 *     const found = logitsOnPicture(scores, [h, w, classes], { width, height }, manifest.preprocess);
 *     const shown = overlay(image, { ...found, colors: manifest.colors });
 *
 * SPDX-License-Identifier: MIT
 */
import { resizedSize } from "./mvit2.mjs";

/** The class of pixels that the crop left out. */
export const NOT_SEEN = 255;
/** A mask has a byte for a pixel. */
export const MAX_CLASSES = 256;

// ---- where the picture's pixels lie on the network's input ----

/** One axis: edges in pixels of the picture, after the resize, and of the network's input, which is cut of its middle. */
function openAxis(picture, resized, network) {
  const start = Math.floor((resized - network) / 2); // negative where zeros were added
  const firstAt = (edge) => Math.ceil((2 * picture * edge - resized) / (2 * resized)); // of the pixels' middles
  const from = Math.max(0, firstAt(start));
  const count = Math.min(picture, firstAt(start + network)) - from;
  return { picture, resized, network, start, from, count };
}

function openAxes({ width, height }, spec) {
  const [tall, wide] = resizedSize(width, height, spec);
  return { y: openAxis(height, tall, spec.image_size[0]), x: openAxis(width, wide, spec.image_size[1]) };
}

/** Of a seen pixel's middle: the pixel of the network's input in which it lies. */
function nearest({ picture, resized, start, from }, index) {
  return Math.floor(((2 * (from + index) + 1) * resized) / (2 * picture)) - start;
}

/** Of every seen pixel: between the middles of which two cells it lies, and the share of the second one. */
function cellsOf({ picture, resized, network, start, from, count }, cells) {
  const [low, share] = [new Int32Array(count), new Float64Array(count)];
  for (let i = 0; i < count; i++) {
    const onNetwork = ((2 * (from + i) + 1) * resized) / (2 * picture) - start;
    const at = Math.max(0, onNetwork * (cells / network) - 0.5);
    low[i] = Math.min(Math.trunc(at), cells - 1);
    share[i] = Math.min(at - low[i], 1);
  }
  return { low, high: low.map((cell) => Math.min(cell + 1, cells - 1)), share };
}

// ---- the class of every pixel ----

/** A row of cells between two others, all classes. */
function mixRows(logits, low, high, share, line) {
  const [a, b] = [low * line.length, high * line.length];
  for (let i = 0; i < line.length; i++) line[i] = logits[a + i] * (1 - share) + logits[b + i] * share;
}

/** The class that is largest between two cells of a row; of equal ones the first. */
function winner(line, a, b, share, classes) {
  let best = 0;
  let most = -Infinity;
  for (let c = 0; c < classes; c++) {
    const value = line[a + c] * (1 - share) + line[b + c] * share;
    if (value > most) [best, most] = [c, value];
  }
  return best;
}

/** One row of the picture. A class that wins in both neighbours wins everywhere between them. */
function fillRow(line, classes, x, row) {
  const cells = line.length / classes;
  const best = Uint8Array.from({ length: cells }, (_, cell) => winner(line, cell * classes, cell * classes, 0, classes));
  for (let i = 0; i < row.length; i++) {
    const [low, high] = [x.low[i], x.high[i]];
    row[i] = best[low] === best[high] ? best[low] : winner(line, low * classes, high * classes, x.share[i], classes);
  }
}

/** @param fill called with every row that was seen, and its number among them. */
function onPicture({ width, height }, { x, y }, fill) {
  const mask = new Uint8Array(width * height).fill(NOT_SEEN);
  for (let i = 0; i < y.count; i++) {
    const begin = (y.from + i) * width + x.from;
    fill(mask.subarray(begin, begin + x.count), i);
  }
  return { mask, width, height, box: [x.from, y.from, x.from + x.count, y.from + y.count] };
}

function checkAnswer(answer, shape, accepted) {
  const wanted = shape.reduce((a, b) => a * b, 1);
  if (answer.length !== wanted) throw new RangeError(`the answer has ${answer.length} numbers, accepted: ${wanted}`);
  const wrong = answer.findIndex((value) => !accepted(value));
  if (wrong >= 0) {
    throw new RangeError(`the model answered ${answer[wrong]}, which is broken: check it against its checkpoint`);
  }
}

export function logitsOnPicture(logits, [height, width, classes], size, spec) {
  if (!(classes >= 1 && classes <= MAX_CLASSES)) {
    throw new RangeError(`classes = ${classes} cannot be used; accepted: 1..${MAX_CLASSES}`);
  }
  checkAnswer(logits, [height, width, classes], Number.isFinite);
  const axes = openAxes(size, spec);
  const [y, x] = [cellsOf(axes.y, height), cellsOf(axes.x, width)];
  const line = new Float64Array(width * classes);
  return onPicture(size, axes, (row, i) => {
    mixRows(logits, y.low[i], y.high[i], y.share[i], line);
    fillRow(line, classes, x, row);
  });
}

export function maskOnPicture(mask, classes, size, spec) {
  checkAnswer(mask, spec.image_size, (value) => value < classes);
  const axes = openAxes(size, spec);
  const columns = Int32Array.from({ length: axes.x.count }, (_, i) => nearest(axes.x, i));
  return onPicture(size, axes, (row, i) => {
    const begin = nearest(axes.y, i) * spec.image_size[1];
    for (let j = 0; j < row.length; j++) row[j] = mask[begin + columns[j]];
  });
}

/** The classes of what was seen, the largest first; shares are of the whole picture. */
export function areasOf({ mask, width, height, box: [left, top, right, bottom] }) {
  const counts = new Float64Array(MAX_CLASSES);
  for (let y = top; y < bottom; y++) {
    for (let i = y * width + left; i < y * width + right; i++) counts[mask[i]]++;
  }
  const areas = Array.from(counts, (count, index) => ({ index, share: count / (width * height) }));
  return areas.filter(({ share }) => share > 0).sort((a, b) => b.share - a.share); // stable: the lower index first
}

// ---- colours ----

/** "#rrggbb" -> [r, g, b]; null where it is black, as the background is: that leaves the picture as it is. */
function paintOf(color) {
  const rgb = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  return rgb.some((value) => value > 0) ? rgb : null;
}

/** As Pillow mixes two bytes. */
function mix(a, b, opacity) {
  const sum = a * (255 - opacity) + b * opacity + 128;
  return (sum + (sum >> 8)) >> 8;
}

/** As Python does: halves go to the even number. */
function rounded(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 === 1 ? up - 1 : up;
}

export function overlay({ data, width, height }, found, opacity = 0.5) {
  if (!(opacity >= 0 && opacity <= 1)) throw new RangeError(`opacity = ${opacity} cannot be used; accepted: 0..1`);
  const [left, top, right, bottom] = found.box;
  const paints = found.colors.map(paintOf);
  const amount = rounded(255 * opacity);
  const at = (index, ours, whole) => Math.floor(((2 * index + 1) * whole) / (2 * ours));
  const columns = Int32Array.from({ length: width }, (_, x) => at(x, width, found.width));
  const pixels = new Uint8ClampedArray(data);
  for (let y = 0; y < height; y++) {
    const row = at(y, height, found.height);
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      const seen = row >= top && row < bottom && column >= left && column < right;
      const paint = seen ? paints[found.mask[row * found.width + column]] : null;
      const to = (y * width + x) * 4;
      pixels[to + 3] = 255;
      if (paint) for (let c = 0; c < 3; c++) pixels[to + c] = mix(pixels[to + c], paint[c], amount);
    }
  }
  return pixels;
}
