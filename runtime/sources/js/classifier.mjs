/**
 * A mvit2 bundle in a page: a picture in, labels with scores out, on onnxruntime-web or LiteRT.js.
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
import { MAX_PIXELS, pixelValues, preprocess, softmax, topK } from "./mvit2.mjs";

const SCHEMA_VERSION = 3; // of manifest.json

// ---- the bundle ----

/** What lies at a URL, or an error that names it. */
export async function fetched(url, as) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be fetched (${response.status} ${response.statusText})`);
  return response[as]();
}

export async function openBundle(url) {
  const base = new URL(url.endsWith("/") ? url : `${url}/`, location.href).href;
  const manifest = await fetched(`${base}manifest.json`, "json");
  if (manifest?.schema_version !== SCHEMA_VERSION || manifest.task !== "image-classification") {
    const found = `${manifest?.task}, schema_version ${manifest?.schema_version}`.slice(0, 80);
    throw new Error(`${base} is ${found}; accepted: image-classification, ${SCHEMA_VERSION}; export the bundle again`);
  }
  const labels = (await fetched(`${base}labels.txt`, "text")).replace(/\r?\n$/, "").split(/\r?\n/);
  if (labels.length !== manifest.classes) {
    throw new Error(`labels.txt has ${labels.length} lines, the network ${manifest.classes} classes; export it again`);
  }
  return { base, manifest, labels };
}

// ---- engines: how each opens a model file and runs it ----

/** Dimensions of a tensor of the manifest; an open one is 1. */
function shapeOf(tensor) {
  return tensor.shape.map((size) => size ?? 1);
}

export function onnxRuntime(ort) {
  return {
    name: "onnxruntime",
    async open(model, { input, output }) {
      const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
      return {
        async run(values) {
          const feeds = { [input.name]: new ort.Tensor(input.dtype, values, shapeOf(input)) };
          return (await session.run(feeds))[output.name].data;
        },
        close: () => session.release(),
      };
    },
  };
}

export function liteRt(litert, threads) {
  return {
    name: "litert",
    async open(model, { input }) {
      const cpuOptions = threads === undefined ? {} : { numThreads: threads };
      const compiled = await litert.loadAndCompile(model, { accelerator: "wasm", cpuOptions });
      return {
        async run(values) {
          const tensor = new litert.Tensor(values, shapeOf(input));
          const outputs = await compiled.run([tensor]);
          const scores = await outputs[0].data();
          for (const one of [tensor, ...outputs]) one.delete(); // their memory is no garbage that is collected
          return scores;
        },
        close: () => compiled.delete(),
      };
    },
  };
}

// ---- pictures ----

/**
 * The browser's decoder with everything off that would change pixels: colour profiles, alpha, smoothing. EXIF
 * orientation is applied. A canvas keeps no colour where it is transparent: there, Python sees other pixels.
 */
export async function decode(picture) {
  const asStored = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(picture, asStored).catch((error) => {
    const name = picture.name ?? "the picture";
    throw new Error(`${name} cannot be decoded by this browser; accepted: JPEG, PNG, WebP, BMP; convert it first`, {
      cause: error,
    });
  });
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS) {
      throw new RangeError(`the picture is too large (${width}x${height}); accepted: at most ${MAX_PIXELS} pixels`);
    }
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height, { colorSpace: "srgb" });
  } finally {
    bitmap.close();
  }
}

// ---- the classifier ----

export class Mvit2Classifier {
  #session;

  constructor(bundle, artifact, session) {
    this.bundle = bundle;
    this.artifact = artifact;
    this.#session = session;
  }

  static async open(bundle, file, engine) {
    const artifact = bundle.manifest.artifacts.find((one) => one.file.path === file);
    if (artifact?.engine !== engine.name) {
      const files = bundle.manifest.artifacts.filter((one) => one.engine === engine.name).map((one) => one.file.path);
      throw new Error(`${engine.name} cannot open ${file}; accepted: ${files.join(", ") || "no file of this bundle"}`);
    }
    const model = new Uint8Array(await fetched(bundle.base + file, "arrayBuffer"));
    return new Mvit2Classifier(bundle, artifact, await engine.open(model, artifact));
  }

  pixels({ data, width, height }) {
    return preprocess(data, width, height, 4, this.bundle.manifest.preprocess);
  }

  async scores(pixels) {
    const { io, preprocess: spec, classes } = this.bundle.manifest;
    const output = await this.#session.run(io === "tensor" ? pixelValues(pixels, spec) : pixels);
    if (output.length !== classes) {
      throw new Error(`${this.artifact.file.path} gave ${output.length} scores, the manifest says ${classes}`);
    }
    return io === "tensor" ? softmax(output) : Float32Array.from(output);
  }

  best(scores, k) {
    return topK(scores, k).map((one) => ({ label: this.bundle.labels[one.index], ...one }));
  }

  async classify(picture, k = 5) {
    const image = picture instanceof ImageData ? picture : await decode(picture);
    return this.best(await this.scores(this.pixels(image)), k);
  }

  close() {
    return this.#session.close();
  }
}
