/** The engines of the page: what this browser can do, and each of them loaded once, with the threads that it allows. */
import { liteRt, onnxRuntime } from "./mvit2/engines.mjs";

const MOST_THREADS = 4; // a model of a few milliseconds gains nothing from more
const AT = new URL("engines/", import.meta.url).href;

/** A function that returns a vector: what an engine without SIMD cannot even parse. */
const VECTOR = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** Nothing can run without SIMD; without cross-origin isolation a page has no threads. */
export function abilities() {
  const simd = typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(VECTOR));
  const cores = Math.max(1, navigator.hardwareConcurrency ?? 1);
  return { simd, threads: globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, cores) : 1 };
}

async function loadOnnxRuntime(threads) {
  const ort = await import(`${AT}onnxruntime/ort.wasm.min.mjs`);
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = `${AT}onnxruntime/`;
  ort.env.logLevel = "error";
  return onnxRuntime(ort);
}

/** On the CPU, like the other engine and the golden vectors: LiteRT would look for WebGPU first. */
async function loadLiteRt(threads) {
  const litert = await import(`${AT}litert/index.js`);
  const create = litert.Environment.create.bind(litert.Environment);
  litert.Environment.create = () => create({ webGpuDevice: null });
  globalThis.Module = { printErr: sayErrors };
  const threaded = threads > 1 && (await litert.supportsFeature("relaxedSimd"));
  await litert.loadLiteRt(`${AT}litert/wasm/`, { threads: threaded });
  return liteRt(litert, threaded ? threads : 1);
}

/** LiteRT prints every step on stderr. */
function sayErrors(line) {
  if (!/^(VERBOSE|INFO|WARNING):/.test(line)) console.error(line);
}

/** In the order of the page; `name` is what a manifest calls the engine, `pack` what npm does. */
export const ENGINES = [
  { name: "onnxruntime", pack: "onnxruntime-web", files: "ONNX", load: once(loadOnnxRuntime) },
  { name: "litert", pack: "@litertjs/core", files: "TFLite", load: once(loadLiteRt) },
];

function once(load) {
  let loading;
  return (threads) => (loading ??= load(threads));
}
