/** The golden vectors in this browser: do its decoder and both engines give what was recorded with the bundle? */
import { decode, fetched } from "./mvit2/classifier.mjs";

const INDEX = "golden/golden.json";

export async function openGolden({ base, manifest }) {
  if (!manifest.files.some((file) => file.path === INDEX)) {
    throw new Error("This bundle has no golden vectors; export it again with mvit2-export.");
  }
  const index = await fetched(base + INDEX, "json");
  const [height, width, channels] = index.input.shape;
  const cases = await Promise.all(
    index.cases.map(async ({ name, picture, pixels }) => ({
      name,
      picture: picture && base + picture,
      pixels: await sized(base + pixels, Uint8Array, height * width * channels),
    })),
  );
  return { cases, floor: index.output.floor, classes: manifest.classes, base, scores: index.scores };
}

async function sized(url, type, length) {
  const bytes = await fetched(url, "arrayBuffer");
  if (bytes.byteLength !== length * type.BYTES_PER_ELEMENT) {
    throw new Error(`${url} has ${bytes.byteLength} bytes, expected ${length * type.BYTES_PER_ELEMENT}`);
  }
  return new type(bytes); // little-endian, as every machine with a browser is
}

/** How many bytes differ after decoding and preprocessing, of how many. */
export async function comparePixels(golden, pixelsOf) {
  let [differing, total] = [0, 0];
  for (const { picture, pixels } of golden.cases.filter((one) => one.picture)) {
    const ours = pixelsOf(await decode(await fetched(picture, "blob")));
    differing += ours.reduce((count, byte, index) => count + (byte !== pixels[index]), 0);
    total += pixels.length;
    await breath();
  }
  return { differing, total };
}

/**
 * One model file on all cases, against what was recorded of it: largest differences of probabilities and of their
 * logarithms, and for how many cases the first class is the same. NaN is a failure: Math.max keeps it.
 */
export async function compareScores(golden, classifier) {
  const path = classifier.artifact.file.path;
  if (!golden.scores[path]) throw new Error(`golden.json has no scores of ${path}; export the bundle again`);
  const { file, tolerance } = golden.scores[path];
  const count = golden.cases.length;
  const recorded = await sized(golden.base + file, Float32Array, count * golden.classes);
  const found = { probability: 0, logarithm: 0, sameFirst: 0, count, tolerance };
  for (const [index, { pixels }] of golden.cases.entries()) {
    const expected = recorded.subarray(index * golden.classes, (index + 1) * golden.classes);
    add(found, expected, await classifier.scores(pixels), golden.floor);
    await breath();
  }
  const near = found.logarithm <= tolerance && found.probability <= tolerance;
  return { ...found, passed: near && found.sameFirst === count };
}

function add(found, expected, scores, floor) {
  const logarithms = (values) => Float64Array.from(values, (p) => Math.log(Math.max(p, floor)));
  const [a, b] = [logarithms(expected), logarithms(scores)];
  for (const index of a.keys()) {
    found.probability = Math.max(found.probability, Math.abs(expected[index] - scores[index]));
    found.logarithm = Math.max(found.logarithm, Math.abs(a[index] - b[index]));
  }
  const largest = (values) => values.reduce((x, y) => Math.max(x, y));
  const chosen = a[b.indexOf(largest(b))];
  found.sameFirst += largest(a) - chosen <= found.tolerance; // two classes nearer than that are a tie
}

/** Let the page paint. */
function breath() {
  return new Promise((resolve) => setTimeout(resolve));
}
