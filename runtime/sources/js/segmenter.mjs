/**
 * A segmentation network's bundle in a page: a picture in, the class of every pixel of it out.
 *
 * The engine is handed in, as classifier.mjs shows:
 *
 *     import * as ort from "onnxruntime-web/wasm";
 *     import { Mvit2Segmenter, decode, onnxRuntime, openBundle, overlay } from "./segmenter.mjs";
 *
 *     const bundle = await openBundle("mobilevitv2-1.0-voc-deeplabv3/");
 *     const segmenter = await Mvit2Segmenter.open(bundle, "model_int8.onnx", onnxRuntime(ort));
 *     const image = await decode(file);
 *     const found = await segmenter.segment(image);
 *     for (const { label, share } of found.classes) console.log(label, share);
 *     context.putImageData(new ImageData(overlay(image, found), image.width), 0, 0);
 *
 * SPDX-License-Identifier: MIT
 */
import { BundleModel, decode } from "./bundle.mjs";
import { areasOf, logitsOnPicture, maskOnPicture, MAX_CLASSES } from "./masks.mjs";

export { decode, fetched, openBundle } from "./bundle.mjs";
export { liteRt, onnxRuntime } from "./engines.mjs";
export { NOT_SEEN, overlay } from "./masks.mjs";

/** By the manifest's output_kind: the model's answer -> the class of every pixel of the picture. */
const ON_PICTURE = new Map([
  ["scores", (scores, { outputs }, { preprocess }, size) => logitsOnPicture(scores, outputs[0].shape.slice(1), size, preprocess)],
  ["mask", (scores, _, { classes, preprocess }, size) => maskOnPicture(scores, classes, size, preprocess)],
]);

function checkManifest({ classes, colors, output_kind: kind }) {
  const wrong = (what, accepted) => new Error(`the manifest has ${what}, accepted: ${accepted}; export the bundle again`);
  if (classes > MAX_CLASSES) throw wrong(`${classes} classes`, `at most ${MAX_CLASSES}`);
  if (!ON_PICTURE.has(kind)) throw wrong(`output_kind ${JSON.stringify(kind)}`, [...ON_PICTURE.keys()].join(", "));
  const good = Array.isArray(colors) && colors.every((color) => /^#[0-9a-f]{6}$/.test(color));
  if (!good || colors.length !== classes) throw wrong("no such colors", `"#rrggbb" for each of ${classes} classes`);
}

export class Mvit2Segmenter extends BundleModel {
  static task = "semantic-segmentation";

  constructor(bundle, artifact, session) {
    checkManifest(bundle.manifest);
    super(bundle, artifact, session);
  }

  onPicture(scores, { width, height }) {
    const { manifest, labels } = this.bundle;
    const found = ON_PICTURE.get(manifest.output_kind)(scores, this.artifact, manifest, { width, height });
    const classes = areasOf(found).map((area) => ({ label: labels[area.index], ...area }));
    return { ...found, classes, colors: manifest.colors };
  }

  async segment(picture) {
    const image = picture instanceof ImageData ? picture : await decode(picture);
    return this.onPicture(await this.scores(this.pixels(image)), image);
  }
}
