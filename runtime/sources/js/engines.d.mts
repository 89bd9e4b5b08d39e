import type { Artifact } from "./bundle.mjs";

/** An open model file. */
export interface Session {
  /** The model's input as its dtype and shape ask for -> its output, all numbers in a row. */
  run(values: Uint8Array | Float32Array): Promise<ArrayLike<number>>;
  /** Gives its memory back. */
  close(): void | Promise<void>;
}

export interface Engine {
  /** Which files of a bundle it opens. */
  readonly name: Artifact["engine"];
  open(model: Uint8Array, artifact: Artifact): Promise<Session>;
}

/** @param ort the module `onnxruntime-web` or `onnxruntime-web/wasm`, for .onnx and .ort files. */
export function onnxRuntime(ort: object): Engine;

/**
 * @param litert the module `@litertjs/core` after its `loadLiteRt` has ended, for .tflite files.
 * @param threads of one inference; default: LiteRT's own choice.
 */
export function liteRt(litert: object, threads?: number): Engine;
