/** "preprocess" of a bundle's manifest.json, as JSON.parse gives it. At most one resize is not null. */
export interface PreprocessSpec {
  /** `[height, width]` of the model's input, in pixels. */
  readonly image_size: readonly number[];
  /** The shortest edge becomes this long, the aspect ratio is kept. */
  readonly resize_shortest?: number | null;
  /** `[height, width]` to stretch to. */
  readonly resize_exact?: readonly number[] | null;
  /** "bilinear", "bicubic": Pillow's antialiased filters. */
  readonly resample: string;
  /** "RGB", "BGR". Only `pixelValues` reads this and what follows: an "image" bundle has all of it in its graph. */
  readonly channel_order?: string;
  readonly scale?: number;
  /** Of red, green and blue, as `std`: the network sees (pixel * scale - mean) / std. Absent: 0 and 1. */
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** One line of an answer. */
export interface Prediction {
  readonly index: number;
  readonly score: number;
}

/** Largest picture, before and after the resize, in pixels (134 megapixels). */
export const MAX_PIXELS: number;
/** Longest edge, in pixels, that a spec may ask for. */
export const MAX_EDGE: number;

/**
 * The picture's `[height, width]` after the resize, before the crop.
 *
 * @throws RangeError what cannot be used, and what is accepted.
 */
export function resizedSize(width: number, height: number, spec: PreprocessSpec): readonly [number, number];

/**
 * A picture -> the model's input, uint8 RGB `[height][width][3]`; zeros where the picture is smaller.
 *
 * @param pixels decoded and upright, row by row, `width * height * channels` bytes.
 * @param channels 3 (RGB) or 4 (RGBA, as a canvas gives it; alpha is ignored).
 * @throws RangeError what cannot be used, and what is accepted.
 */
export function preprocess(
  pixels: Uint8Array | Uint8ClampedArray,
  width: number,
  height: number,
  channels: 3 | 4,
  spec: PreprocessSpec,
): Uint8Array;

/**
 * Only for bundles of `--io tensor`: preprocessed pixels -> float `[3][height][width]`, ordered and scaled.
 *
 * @throws RangeError what cannot be used, and what is accepted.
 */
export function pixelValues(pixels: Uint8Array | Uint8ClampedArray, spec: PreprocessSpec): Float32Array;

/**
 * Only for bundles of `--io tensor`: logits -> probabilities.
 *
 * @throws RangeError no logits, or one that is not finite.
 */
export function softmax(logits: Float32Array | readonly number[]): Float32Array;

/**
 * The best k classes, best first; of equal scores the lower index comes first. At most as many as there are classes.
 *
 * @throws RangeError no scores, one that is not finite, or k below 1.
 */
export function topK(scores: Float32Array | readonly number[], k: number): Prediction[];
