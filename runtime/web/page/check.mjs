/** The golden vectors in this browser: do its decoder and both engines give what was recorded with the bundle? */
import { decode, fetched } from "./mvit2/bundle.mjs";

const INDEX = "golden/golden.json";

/** @param measure a row of measures.mjs, by which the bundle's answers are compared. */
export async function openGolden({ base, manifest }, measure) {
  if (!manifest.files.some((file) => file.path === INDEX)) {
    throw new Error("This bundle has no golden vectors; export it again with mvit2-export.");
  }
  const { input, output, cases, scores } = await fetched(base + INDEX, "json");
  if (!scores) throw new Error("This bundle's golden vectors are of an older layout; export it again with mvit2-export.");
  return {
    cases: await Promise.all(
      cases.map(async ({ name, picture, pixels }) => ({
        name,
        picture: picture && base + picture,
        pixels: await sized(base + pixels, Uint8Array, product(input.shape)),
      })),
    ),
    measure,
    each: product(output.shape), // numbers of an answer
    floor: output.floor,
    classes: manifest.classes,
    base,
    scores,
  };
}

function product(shape) {
  return shape.reduce((a, b) => a * b, 1);
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

/** One model file on all cases, against what was recorded of it -> what its measure says, as text, and the verdict. */
export async function compareScores({ cases, measure, each, floor, classes, base, scores }, model) {
  const path = model.artifact.file.path;
  if (!scores[path]) throw new Error(`golden.json has no scores of ${path}; export the bundle again`);
  const { file, tolerance } = scores[path];
  const recorded = await sized(base + file, measure.type, cases.length * each);
  const found = new measure.type(recorded.length);
  for (const [index, { pixels }] of cases.entries()) {
    found.set(await model.scores(pixels), index * each);
    await breath();
  }
  const { figures, same, of } = measure.compare(recorded, found, { cases: cases.length, classes, floor, tolerance });
  const [absolute, relative] = figures.map((figure, index) => measure.shown[index](figure));
  const passed = figures[1] <= tolerance && same === of;
  return { cells: [absolute, relative, measure.shown[1](tolerance), `${same} of ${of}`], passed };
}

/** Let the page paint. */
function breath() {
  return new Promise((resolve) => setTimeout(resolve));
}
