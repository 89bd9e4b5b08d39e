/**
 * A classifier's bundle in a page: a picture in, labels with scores out, on onnxruntime-web or LiteRT.js.
 *
 * The engine is handed in; nothing here loads one:
 *
 *     import * as ort from "onnxruntime-web/wasm";
 *     import { Mvit2Classifier, onnxRuntime, openBundle } from "./classifier.mjs";
 *
 *     const bundle = await openBundle("mobilevitv2-0.5-demo20/");
 *     const classifier = await Mvit2Classifier.open(bundle, "model_int8.onnx", onnxRuntime(ort));
 *     for (const { label, score } of await classifier.classify(file, 5)) console.log(label, score);
 *
 * or with TFLite files:
 *
 *     import * as litert from "@litertjs/core";
 *
 *     await litert.loadLiteRt("node_modules/@litertjs/core/wasm/", { threads: crossOriginIsolated });
 *     const classifier = await Mvit2Classifier.open(bundle, "model_int8.tflite", liteRt(litert));
 *
 * SPDX-License-Identifier: MIT
 */
import { BundleModel, decode } from "./bundle.mjs";
import { softmax, topK } from "./mvit2.mjs";

export { decode, fetched, openBundle } from "./bundle.mjs";
export { liteRt, onnxRuntime } from "./engines.mjs";

export class Mvit2Classifier extends BundleModel {
  static task = "image-classification";

  async scores(pixels) {
    const output = await super.scores(pixels);
    return this.bundle.manifest.io === "tensor" ? softmax(output) : output;
  }

  best(scores, k) {
    return topK(scores, k).map((one) => ({ label: this.bundle.labels[one.index], ...one }));
  }

  async classify(picture, k = 5) {
    const image = picture instanceof ImageData ? picture : await decode(picture);
    return this.best(await this.scores(this.pixels(image)), k);
  }
}
