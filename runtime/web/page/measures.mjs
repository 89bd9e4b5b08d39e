/**
 * By which numbers two answers of a model are called equal, a row for each kind: those of mvit2/runtime/tasks/compare.py.
 *
 *     type      of a model's numbers, and of recorded ones
 *     titles    of the three figures
 *     compare   recorded, found, { cases, classes, floor, tolerance } -> { figures: [absolute, relative], same, of }
 *     shown     a figure as text: the absolute one, the relative one
 *
 * All cases' numbers lie one behind the other. NaN is a failure: Math.max keeps it.
 */
const POWER = (value) => value.toExponential(1);
const PERCENT = (share) => `${(share * 100).toFixed(2)} %`;

/** Softmax probabilities: a class of probability 1e-6 counts as much as the winner. */
function compareProbabilities(recorded, found, { classes, floor, tolerance }) {
  const logarithms = (values) => Float64Array.from(values, (p) => Math.log(Math.max(p, floor)));
  const [a, b] = [logarithms(recorded), logarithms(found)];
  const gap = largestGap(recorded, found);
  return { figures: [gap, Math.max(gap, largestGap(a, b))], ...agreement(a, b, classes, tolerance) };
}

/** Logits: the tolerance is a share of the range of all that were recorded. */
function compareLogits(recorded, found, { classes, tolerance }) {
  const [least, most] = [Math.min, Math.max].map((of) => recorded.reduce((a, b) => of(a, b)));
  const extent = Math.max(most - least, 2 ** -126); // the smallest normal float32
  const gap = largestGap(recorded, found);
  return { figures: [gap, gap / extent], ...agreement(recorded, found, classes, tolerance * extent) };
}

/** Masks: the pixels of another class in the worst image, and their share of it. */
function compareMasks(recorded, found, { cases, tolerance }) {
  const size = recorded.length / cases;
  const others = new Float64Array(cases);
  recorded.forEach((value, index) => (others[Math.floor(index / size)] += value !== found[index]));
  const worst = Math.max(...others);
  const same = others.filter((count) => count / size <= tolerance).length;
  return { figures: [worst, worst / size], same, of: cases };
}

function largestGap(a, b) {
  return a.reduce((largest, value, index) => Math.max(largest, Math.abs(value - b[index])), 0);
}

/** Of how many pixels, or pictures, the class is the same. Two classes nearer than a tie may change places. */
function agreement(a, b, classes, tie) {
  const of = a.length / classes;
  let same = 0;
  for (let at = 0; at < a.length; at += classes) {
    const most = a.subarray(at, at + classes).reduce((x, y) => Math.max(x, y));
    same += most - a[at + largestOf(b, at, classes)] <= tie;
  }
  return { same, of };
}

/** NaN everywhere where one is: then nothing is the same. */
function largestOf(values, at, classes) {
  let best = 0;
  for (let c = 0; c < classes; c++) {
    if (Number.isNaN(values[at + c])) return NaN;
    if (values[at + c] > values[at + best]) best = c;
  }
  return best;
}

const PROBABILITIES = {
  type: Float32Array,
  titles: ["max |Δ p|", "max |Δ log p|", "top-1 agreement"],
  compare: compareProbabilities,
  shown: [POWER, POWER],
};
const LOGITS = {
  type: Float32Array,
  titles: ["max |Δ logit|", "of their range", "same class"],
  compare: compareLogits,
  shown: [POWER, POWER],
};
const MASKS = {
  type: Uint8Array,
  titles: ["max other pixels", "of an image", "same mask"],
  compare: compareMasks,
  shown: [String, PERCENT],
};

/** By a manifest's task and output_kind. */
const MEASURES = {
  "image-classification": { scores: PROBABILITIES },
  "semantic-segmentation": { scores: LOGITS, mask: MASKS },
};

export function measureOf({ task, output_kind: kind }) {
  const found = MEASURES[task][kind];
  if (!found) throw new Error(`output_kind of ${task} is ${kind}, accepted: ${Object.keys(MEASURES[task]).join(", ")}`);
  return found;
}
