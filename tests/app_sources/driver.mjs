// node driver.mjs CASES RESULTS: runs every case of a file through the JavaScript source; see driver.c.
import { readFileSync, writeFileSync } from "node:fs";
import { logitsOnPicture, maskOnPicture } from "../../runtime/sources/js/masks.mjs";
import { pixelValues, preprocess, softmax, topK } from "../../runtime/sources/js/mvit2.mjs";

const HEADER = 56; // 12 int32, 1 double
const RESAMPLE = ["bilinear", "bicubic"];
const ORDER = ["RGB", "BGR"];
const orNull = (value) => (value === 0 ? null : value);

/** What mask_cases.py asks for: the box as int32, then the mask. */
function withBox({ mask, box }) {
  return new Uint8Array([...new Uint8Array(Int32Array.from(box).buffer), ...mask]);
}

function run(header, scale, payload) {
  const [what, width, height, channels, tall, wide, shortest, exactTall, exactWide, resample, order] = header;
  const spec = {
    image_size: [tall, wide],
    resize_shortest: orNull(shortest),
    resize_exact: exactTall || exactWide ? [exactTall, exactWide] : null,
    resample: what >= 11 ? "bilinear" : (RESAMPLE[resample] ?? `number ${resample}`), // masks do not ask
    channel_order: ORDER[order] ?? `number ${order}`,
    scale,
  };
  if (what === 1 && channels === 9) Object.assign(spec, { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });
  const floats = () => new Float32Array(payload.slice().buffer);
  const runs = {
    0: () => preprocess(payload, width, height, channels, spec),
    1: () => pixelValues(payload, spec),
    2: () => softmax(floats()),
    3: () => Int32Array.from(topK(floats(), width), ({ index }) => index),
    11: () => withBox(logitsOnPicture(floats(), [resample, order, channels], { width, height }, spec)),
    12: () => withBox(maskOnPicture(payload, channels, { width, height }, spec)),
  };
  return runs[what]();
}

const cases = readFileSync(process.argv[2]);
const parts = [];
for (let at = 0; at < cases.length; ) {
  const header = Array.from({ length: 12 }, (_, index) => cases.readInt32LE(at + index * 4));
  const payload = new Uint8Array(cases.buffer, cases.byteOffset + at + HEADER, header[11]);
  let failed = 0;
  let result;
  try {
    const { buffer } = run(header, cases.readDoubleLE(at + 48), payload);
    result = Buffer.from(buffer);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    failed = 1;
    result = Buffer.from(error.message);
  }
  const answer = Buffer.alloc(8);
  answer.writeInt32LE(failed, 0);
  answer.writeInt32LE(result.length, 4);
  parts.push(answer, result);
  at += HEADER + header[11];
}
writeFileSync(process.argv[3], Buffer.concat(parts));
