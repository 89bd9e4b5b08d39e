/** A mvit2 bundle at a URL: its manifest, its labels, one of its model files on an engine. SPDX-License-Identifier: MIT */
import { MAX_PIXELS, pixelValues, preprocess } from "./mvit2.mjs";

const SCHEMA_VERSION = 4; // of manifest.json
const TASKS = ["image-classification", "semantic-segmentation"];
const ARRAYS = { float32: Float32Array, uint8: Uint8Array };

/** What lies at a URL, or an error that names it. */
export async function fetched(url, as) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be fetched (${response.status} ${response.statusText})`);
  return response[as]();
}

export async function openBundle(url) {
  const base = new URL(url.endsWith("/") ? url : `${url}/`, location.href).href;
  const manifest = await fetched(`${base}manifest.json`, "json");
  if (manifest?.schema_version !== SCHEMA_VERSION || !TASKS.includes(manifest.task)) {
    const found = `${manifest?.task}, schema_version ${manifest?.schema_version}`.slice(0, 80);
    throw new Error(`${base} is ${found}; accepted: ${TASKS.join(", ")}, ${SCHEMA_VERSION}; export the bundle again`);
  }
  const labels = (await fetched(`${base}labels.txt`, "text")).replace(/\r?\n$/, "").split(/\r?\n/);
  if (labels.length !== manifest.classes) {
    throw new Error(`labels.txt has ${labels.length} lines, the network ${manifest.classes} classes; export it again`);
  }
  return { base, manifest, labels };
}

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

/** One model file of a bundle, open; what its answer means is said in classifier.mjs and segmenter.mjs. */
export class BundleModel {
  #session;

  constructor(bundle, artifact, session) {
    this.bundle = bundle;
    this.artifact = artifact;
    this.#session = session;
  }

  static async open(bundle, file, engine) {
    if (bundle.manifest.task !== this.task) {
      throw new Error(`${bundle.base} is for ${bundle.manifest.task}, accepted by ${this.name}: ${this.task}`);
    }
    const artifact = bundle.manifest.artifacts.find((one) => one.file.path === file);
    if (artifact?.engine !== engine.name) {
      const files = bundle.manifest.artifacts.filter((one) => one.engine === engine.name).map((one) => one.file.path);
      throw new Error(`${engine.name} cannot open ${file}; accepted: ${files.join(", ") || "no file of this bundle"}`);
    }
    const model = new Uint8Array(await fetched(bundle.base + file, "arrayBuffer"));
    return new this(bundle, artifact, await engine.open(model, artifact));
  }

  pixels({ data, width, height }) {
    return preprocess(data, width, height, 4, this.bundle.manifest.preprocess);
  }

  async scores(pixels) {
    const { io, preprocess: spec } = this.bundle.manifest;
    const output = await this.#session.run(io === "tensor" ? pixelValues(pixels, spec) : pixels);
    const [answer] = this.artifact.outputs;
    const wanted = answer.shape.reduce((length, size) => length * (size ?? 1), 1);
    if (output.length !== wanted) {
      throw new Error(`${this.artifact.file.path} gave ${output.length} scores, the manifest says ${wanted}`);
    }
    return new ARRAYS[answer.dtype](output);
  }

  close() {
    return this.#session.close();
  }
}
