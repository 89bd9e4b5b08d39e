/** The engines: how each opens a model file and runs it. They are handed in. SPDX-License-Identifier: MIT */

/** Dimensions of a tensor of the manifest; an open one is 1. */
function shapeOf(tensor) {
  return tensor.shape.map((size) => size ?? 1);
}

export function onnxRuntime(ort) {
  return {
    name: "onnxruntime",
    async open(model, { input, outputs: [output] }) {
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
