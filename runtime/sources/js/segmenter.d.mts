import { BundleModel } from "./bundle.mjs";
import type { Area, Mask, Size } from "./masks.mjs";

export { decode, fetched, openBundle } from "./bundle.mjs";
export type { Artifact, Bundle, Manifest, TensorFacts } from "./bundle.mjs";
export { liteRt, onnxRuntime } from "./engines.mjs";
export type { Engine, Session } from "./engines.mjs";
export { NOT_SEEN, overlay } from "./masks.mjs";
export type { Area, Mask, Size } from "./masks.mjs";

export interface LabelledArea extends Area {
  readonly label: string;
}

/** The class of every pixel of the upright picture, and what that adds up to. */
export interface Segmentation extends Mask {
  /** Those present, the largest first; shares are of the whole picture. */
  readonly classes: readonly LabelledArea[];
  /** "#rrggbb" for each class of the network. */
  readonly colors: readonly string[];
}

/** One model file of a bundle, ready to segment. `open` throws for a network of more than 256 classes. */
export class Mvit2Segmenter extends BundleModel {
  /**
   * What the model says of a picture of this size -> the class of every pixel of it.
   *
   * @throws RangeError the model answers NaN, Infinity or a class that it does not have.
   */
  onPicture(scores: Float32Array | Uint8Array, size: Size): Segmentation;

  /** All of it: a File, Blob, ImageData, ImageBitmap, canvas or video -> the class of every pixel. */
  segment(picture: ImageBitmapSource): Promise<Segmentation>;
}
