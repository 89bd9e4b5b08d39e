import { BundleModel } from "./bundle.mjs";
import type { Prediction } from "./mvit2.mjs";

export { decode, fetched, openBundle } from "./bundle.mjs";
export type { Artifact, Bundle, Manifest, TensorFacts } from "./bundle.mjs";
export { liteRt, onnxRuntime } from "./engines.mjs";
export type { Engine, Session } from "./engines.mjs";

export interface LabelledPrediction extends Prediction {
  readonly label: string;
}

/** One model file of a bundle, ready to classify. */
export class Mvit2Classifier extends BundleModel {
  /** Pixels as `pixels` makes them -> probabilities `[classes]`. */
  scores(pixels: Uint8Array): Promise<Float32Array>;

  /** The best k classes, best first. @throws RangeError a score is not finite, or k is below 1. */
  best(scores: Float32Array, k: number): LabelledPrediction[];

  /** All of it: a File, Blob, ImageData, ImageBitmap, canvas or video -> the best k classes. */
  classify(picture: ImageBitmapSource, k?: number): Promise<LabelledPrediction[]>;
}
