import type { Prediction, PreprocessSpec } from "./mvit2.mjs";

/** A model's input or output in manifest.json; a dimension of null is open. */
export interface TensorFacts {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | null)[];
}

/** A model file in manifest.json. */
export interface Artifact {
  readonly file: { readonly path: string; readonly bytes: number; readonly sha256: string };
  readonly engine: "onnxruntime" | "litert";
  readonly precision: string;
  readonly input: TensorFacts;
  readonly output: TensorFacts;
}

/** What a page needs of manifest.json. */
export interface Manifest {
  readonly schema_version: number;
  readonly name: string;
  readonly task: string;
  readonly variant: string;
  readonly io: "image" | "tensor";
  readonly preprocess: PreprocessSpec;
  readonly classes: number;
  readonly artifacts: readonly Artifact[];
  readonly files: readonly Artifact["file"][];
}

export interface Bundle {
  /** Where its files lie; ends with a slash. */
  readonly base: string;
  readonly manifest: Manifest;
  /** Class names by index. */
  readonly labels: readonly string[];
}

/** An open model file. */
export interface Session {
  /** The model's input as its dtype and shape ask for -> its output, `[1, classes]`. */
  run(values: Uint8Array | Float32Array): Promise<ArrayLike<number>>;
  /** Gives its memory back. */
  close(): void | Promise<void>;
}

export interface Engine {
  /** Which files of a bundle it opens. */
  readonly name: Artifact["engine"];
  open(model: Uint8Array, artifact: Artifact): Promise<Session>;
}

export interface LabelledPrediction extends Prediction {
  readonly label: string;
}

/** What lies at a URL, read as `as` says. @throws Error the server's refusal. */
export function fetched(url: string, as: "json"): Promise<unknown>;
export function fetched(url: string, as: "text"): Promise<string>;
export function fetched(url: string, as: "arrayBuffer"): Promise<ArrayBuffer>;

/**
 * Fetch a bundle's manifest and labels.
 *
 * @param url of the bundle's folder, relative to the page.
 * @throws Error of another schema or task, or labels that do not fit.
 */
export function openBundle(url: string): Promise<Bundle>;

/** @param ort the module `onnxruntime-web` or `onnxruntime-web/wasm`, for .onnx and .ort files. */
export function onnxRuntime(ort: object): Engine;

/**
 * @param litert the module `@litertjs/core` after its `loadLiteRt` has ended, for .tflite files.
 * @param threads of one inference; default: LiteRT's own choice.
 */
export function liteRt(litert: object, threads?: number): Engine;

/**
 * A picture -> its stored pixels, upright, RGBA; for lossless files of sRGB the same as in Python.
 *
 * @throws Error what this browser cannot decode; RangeError what is too large.
 */
export function decode(picture: ImageBitmapSource): Promise<ImageData>;

/** One model file of a bundle, ready to classify. */
export class Mvit2Classifier {
  /** @param session of the artifact; `open` makes one. */
  constructor(bundle: Bundle, artifact: Artifact, session: Session);
  readonly bundle: Bundle;
  readonly artifact: Artifact;

  /**
   * @param file such as "model_int8.onnx".
   * @throws Error no such file, one of another engine, or what the engine says of it.
   */
  static open(bundle: Bundle, file: string, engine: Engine): Promise<Mvit2Classifier>;

  /** A decoded picture -> the model's input, uint8 RGB `[height][width][3]`. */
  pixels(image: ImageData): Uint8Array;

  /** Pixels as `pixels` makes them -> probabilities `[classes]`. */
  scores(pixels: Uint8Array): Promise<Float32Array>;

  /** The best k classes, best first. @throws RangeError a score is not finite, or k is below 1. */
  best(scores: Float32Array, k: number): LabelledPrediction[];

  /** All of it: a File, Blob, ImageData, ImageBitmap, canvas or video -> the best k classes. */
  classify(picture: ImageBitmapSource, k?: number): Promise<LabelledPrediction[]>;

  /** Gives the engine's memory back. */
  close(): void | Promise<void>;
}
