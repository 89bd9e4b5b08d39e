/** The page: one picture, both engines, the model files of the bundle beside it. */
import { decode, fetched, openBundle } from "./mvit2/bundle.mjs";
import { setUpCamera } from "./camera.mjs";
import { comparePixels, compareScores, openGolden } from "./check.mjs";
import { abilities, ENGINES } from "./engines.mjs";
import { measureOf } from "./measures.mjs";
import { TASKS } from "./tasks.mjs";
import * as view from "./view.mjs";

const { $ } = view;
const TIMED_RUNS = 5; // after the first, which also warms up

const able = abilities();
let bundle;
let task; // the bundle's row of TASKS
let golden = null;
let current = null; // { name, size, kept, pixels }
let columns = []; // { engine, artifacts, column, model, answer }
let work = Promise.resolve(); // one thing after the other: times would lie, and memory be short
let ready; // the bundle and the engines' columns are here
let asked = 0; // how many pictures were asked for; an older one is not shown

// ---- one picture ----

/** @param source () => what `decode` takes. */
function choose(name, source) {
  const ours = ++asked;
  return queue(async () => {
    if (ours !== asked) return;
    const picture = await decode(await source());
    const { width, height } = picture;
    current = { name, size: { width, height }, kept: await task.keep(picture), pixels: pixelsOf(picture) };
    view.showCrop(current.pixels, bundle.manifest.preprocess.image_size, name);
    for (const one of columns) await answer(one, ours);
    if (ours === asked) sayResult();
  }).catch(fail);
}

function pixelsOf(image) {
  return new task.model(bundle).pixels(image);
}

function fail(error) {
  $("status").textContent = "";
  view.showProblem(view.messageOf(error));
}

function queue(job) {
  const result = work.then(async () => {
    await ready;
    $("problems").replaceChildren();
    await job();
  });
  work = result.catch(() => {});
  return result;
}

/** Run the chosen file of an engine on the picture of now, several times. */
async function answer(one, ours) {
  if (!current || !one.artifacts.length) return;
  const file = one.column.querySelector("select").value;
  one.column.classList.add("busy");
  $("status").textContent = `${file} on ${one.engine.pack}…`;
  try {
    await open(one, file);
    const times = [];
    let scores;
    for (let run = 0; run <= TIMED_RUNS && ours === asked; run++) {
      const begin = performance.now();
      scores = await one.model.scores(current.pixels);
      times.push(performance.now() - begin);
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (ours !== asked) return;
    view.showColumnProblem(one.column, "");
    one.answer = task.read(one.model, scores, current.size);
    task.show(one.column.querySelector(".answer"), one.answer, current);
    const median = times.slice(1).sort((a, b) => a - b)[TIMED_RUNS >> 1];
    view.showTime(one.column, { median, first: times[0], threads: threadsSaid() });
  } catch (error) {
    one.answer = null;
    view.showColumnProblem(one.column, `${one.engine.pack} cannot run ${file}: ${view.messageOf(error)}`);
  } finally {
    one.column.classList.remove("busy");
  }
}

async function open(one, file) {
  if (one.model?.artifact.file.path === file) return;
  await one.model?.close();
  one.model = null; // also where the next one cannot be opened
  one.model = await task.model.open(bundle, file, await one.engine.load(able.threads));
}

function threadsSaid() {
  return able.threads > 1 ? `${able.threads} threads` : "one thread";
}

function sayResult() {
  const answered = columns.filter((one) => one.answer);
  $("status").textContent = answered.map((one) => `${one.engine.pack}: ${task.say(one.answer)}`).join("; ");
}

// ---- the check ----

async function check() {
  $("check").disabled = true;
  const body = view.checkTable(golden.measure.titles);
  const passed = [];
  try {
    const { differing, total } = await comparePixels(golden, pixelsOf);
    const cells = [`${differing} of ${total} bytes differ`, "", "0", ""];
    if (total) passed.push(addRow(body, "pixels of the pictures", cells, differing === 0));
    for (const one of columns) {
      for (const { file } of one.artifacts) passed.push(await checkFile(body, one, file.path));
    }
    const good = passed.filter(Boolean).length;
    const verdict = good === passed.length ? "This browser computes what was recorded" : "Something differs";
    $("check-says").textContent = `${verdict}: ${good} of ${passed.length} lines are ok.`;
  } catch (error) {
    $("check-says").textContent = `The check cannot be done: ${view.messageOf(error)}`;
  }
  $("check").disabled = false;
}

async function checkFile(body, one, file) {
  $("check-says").textContent = `${file} on ${one.engine.pack}…`;
  try {
    await open(one, file);
    const { cells, passed } = await compareScores(golden, one.model);
    return addRow(body, file, cells, passed);
  } catch (error) {
    view.checkRow(body, file, `cannot run: ${view.messageOf(error)}`, []);
    return false;
  }
}

function addRow(body, name, cells, passed) {
  view.checkRow(body, name, passed ? "ok" : "FAILED", cells);
  return passed;
}

// ---- beginning ----

function acceptPictures() {
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) choose(file.name, () => file);
  });
  for (const [event, over] of Object.entries({ dragenter: true, dragover: true, dragleave: false, drop: false })) {
    document.addEventListener(event, (happened) => {
      happened.preventDefault(); // else the browser would leave for the picture
      $("drop").classList.toggle("over", over);
    });
  }
  document.addEventListener("drop", ({ dataTransfer }) => {
    const [file] = dataTransfer.files;
    if (file) choose(file.name, () => file);
  });
  setUpCamera((video) => choose("the camera's picture", () => createImageBitmap(video)));
}

function offerExamples() {
  const pictures = golden?.cases.filter(({ picture }) => picture) ?? [];
  for (const { name, picture } of pictures) {
    const image = Object.assign(new Image(), { src: picture, alt: "" });
    const button = Object.assign(view.element("button", "", image), { type: "button", title: name });
    button.setAttribute("aria-label", `${task.verb} ${name}`);
    const source = () => fetched(picture, "blob");
    button.addEventListener("click", () => choose(name, source));
    $("examples").append(button);
  }
  if (asked === 0) $("examples").firstElementChild?.click();
}

async function begin() {
  bundle = await openBundle("bundle/");
  task = TASKS[bundle.manifest.task];
  view.showBundle(bundle, task.network, able);
  if (!able.simd) throw new Error("This browser has no WebAssembly SIMD, which both engines need; use one of 2023 or later.");
  const versions = (await fetched("package.json", "json")).dependencies;
  columns = ENGINES.map((engine) => {
    const one = { engine, artifacts: bundle.manifest.artifacts.filter((each) => each.engine === engine.name) };
    const changed = () => queue(() => answer(one, asked).then(sayResult));
    one.column = view.engineColumn(engine, versions[engine.pack], one.artifacts, changed);
    return one;
  });
  task.setUp($("controls"));
  try {
    golden = await openGolden(bundle, measureOf(bundle.manifest));
    $("check").disabled = false;
  } catch (error) {
    $("check-says").textContent = view.messageOf(error);
  }
  offerExamples();
}

acceptPictures();
$("check").addEventListener("click", () => queue(check));
ready = begin();
ready.catch(fail);
