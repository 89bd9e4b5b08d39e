/** node --test: the golden pictures become the golden pixels, 0 differing bytes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { preprocess } from "./mvit2/mvit2.mjs";

const read = (path) => readFileSync(new URL(`bundle/${path}`, import.meta.url));
const golden = JSON.parse(read("golden/golden.json"));
const manifest = JSON.parse(read("manifest.json"));
const CHANNELS = 3;

/** A PNG as the golden pictures are: 8 bits, RGB, not interlaced. */
function png(file) {
  const packed = [];
  for (let at = 8; at < file.length; ) {
    const [begin, length] = [at + 8, file.readUInt32BE(at)];
    if (file.toString("latin1", at + 4, begin) === "IDAT") packed.push(file.subarray(begin, begin + length));
    at = begin + length + 4; // after a checksum
  }
  const [width, height] = [file.readUInt32BE(16), file.readUInt32BE(20)];
  return { width, height, pixels: unfiltered(inflateSync(Buffer.concat(packed)), width * CHANNELS, height) };
}

/** Each line begins with the number of its filter, which says what was subtracted from its bytes. */
function unfiltered(lines, row, height) {
  const pixels = new Uint8Array(row * height);
  const at = (y, x) => (y < 0 || x < 0 ? 0 : pixels[y * row + x]);
  for (let y = 0; y < height; y++) {
    const filter = lines[y * (row + 1)];
    for (let x = 0; x < row; x++) {
      const [left, up, corner] = [at(y, x - CHANNELS), at(y - 1, x), at(y - 1, x - CHANNELS)];
      const subtracted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      pixels[y * row + x] = lines[y * (row + 1) + 1 + x] + subtracted;
    }
  }
  return pixels;
}

/** Of the three the one nearest to left + up - corner. */
function paeth(left, up, corner) {
  const [toLeft, toUp, toCorner] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

for (const { name, picture, pixels } of golden.cases.filter((one) => one.picture)) {
  test(`${name}: the golden pixels`, () => {
    const decoded = png(read(picture));
    const ours = preprocess(decoded.pixels, decoded.width, decoded.height, CHANNELS, manifest.preprocess);
    const expected = read(pixels);
    assert.equal(ours.length, expected.length);
    assert.equal(ours.reduce((count, byte, index) => count + (byte !== expected[index]), 0), 0);
  });
}

test("recorded answers belong to the labels", () => {
  const labels = read("labels.txt").toString().replace(/\n$/, "").split("\n");
  const { dtype, shape } = golden.output;
  const bytes = shape.reduce((a, b) => a * b, golden.cases.length) * { float32: 4, uint8: 1 }[dtype];
  for (const { file } of manifest.artifacts) {
    const recorded = read(golden.scores[file.path].file);
    assert.equal(recorded.length, bytes);
    if (dtype === "uint8") assert.ok(recorded.every((index) => index < labels.length)); // a mask
    else assert.equal(shape.at(-1), labels.length);
  }
});
