import type { Engine, Session } from "./engines.mjs";
import type { PreprocessSpec } from "./mvit2.mjs";

/** A model's input or output in manifest.json; a dimension of null is open. */
export interface TensorFacts {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | null)[];
}

/** A model in manifest.json: a file, or a folder of `files`. */
export interface Artifact {
  readonly file: { readonly path: string; readonly bytes: number; readonly sha256: string };
  readonly engine: "onnxruntime" | "litert";
  readonly precision: string;
  readonly input: TensorFacts;
  /** One or more; the first is what the task answers with. */
  readonly outputs: readonly [TensorFacts, ...TensorFacts[]];
  /** Why nobody has compared it with torch; null where somebody has. */
  readonly unverified: string | null;
  readonly files: readonly Artifact["file"][];
}

/** What a page needs of manifest.json. */
export interface Manifest {
  readonly schema_version: number;
  readonly name: string;
  readonly task: "image-classification" | "semantic-segmentation";
  readonly architecture: string;
  readonly variant: string;
  readonly io: "image" | "tensor";
  readonly preprocess: PreprocessSpec;
  readonly classes: number;
  /** Of a segmentation network: logits at its own resolution, or the class of every pixel of its input. */
  readonly output_kind: "scores" | "mask";
  /** Of a segmentation network: "#rrggbb" for each class. */
  readonly colors: readonly string[];
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

/** What lies at a URL, read as `as` says. @throws Error the server's refusal. */
export function fetched(url: string, as: "json"): Promise<unknown>;
export function fetched(url: string, as: "text"): Promise<string>;
export function fetched(url: string, as: "arrayBuffer"): Promise<ArrayBuffer>;

/**
 * Fetch a bundle's manifest and labels.
 *
 * @param url of the bundle's folder, relative to the page.
 * @throws Error of another schema, a task that is not known, or labels that do not fit.
 */
export function openBundle(url: string): Promise<Bundle>;

/**
 * A picture -> its stored pixels, upright, RGBA; for lossless files of sRGB the same as in Python.
 *
 * @throws Error what this browser cannot decode; RangeError what is too large.
 */
export function decode(picture: ImageBitmapSource): Promise<ImageData>;

/** One model file of a bundle: what a classifier and a segmenter share. */
export class BundleModel {
  /** @param session of the artifact; `open` makes one. */
  constructor(bundle: Bundle, artifact: Artifact, session: Session);
  readonly bundle: Bundle;
  readonly artifact: Artifact;

  /**
   * @param file such as "model_int8.onnx".
   * @throws Error a bundle of another task, no such file, one of another engine, or what the engine says of it.
   */
  static open<Model>(
    this: new (bundle: Bundle, artifact: Artifact, session: Session) => Model,
    bundle: Bundle,
    file: string,
    engine: Engine,
  ): Promise<Model>;

  /** A decoded picture -> the model's input, uint8 RGB `[height][width][3]`. */
  pixels(image: ImageData): Uint8Array;

  /** Pixels as `pixels` makes them -> what the model says of them. */
  scores(pixels: Uint8Array): Promise<Float32Array | Uint8Array>;

  /** Gives the engine's memory back. */
  close(): void | Promise<void>;
}
