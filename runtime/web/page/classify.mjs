/** An image classifier on the page: the best classes as bars. See tasks.mjs. */
import { Mvit2Classifier } from "./mvit2/classifier.mjs";
import { element, percent } from "./view.mjs";

const TOP = 5;

function bar({ label, score }) {
  const line = element("li", "", element("span", "", label), element("span", "", percent(score)));
  line.style.setProperty("--share", `${(score * 100).toFixed(1)}%`);
  return line;
}

export const CLASSIFY = {
  model: Mvit2Classifier,
  network: (backbone) => backbone,
  verb: "Classify",
  setUp: () => {},
  keep: () => null,
  read: (model, scores) => model.best(scores, TOP),
  show: (place, best) => place.replaceChildren(element("ol", "bars", ...best.map(bar))),
  say: ([{ label, score }]) => `${label}, ${percent(score)}`,
};
