/** The camera, where the browser lends it: a view, and the picture of a moment. */
import { $, messageOf, showProblem } from "./view.mjs";

const WANTED = { video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false };

/** @param taken called with the video when its present picture is wanted. */
export function setUpCamera(taken) {
  if (!navigator.mediaDevices?.getUserMedia) {
    $("camera").disabled = true;
    $("camera").textContent = "No camera here (needs https or localhost)";
    return;
  }
  $("camera").addEventListener("click", turnOn);
  $("camera-off").addEventListener("click", turnOff);
  $("shoot").addEventListener("click", () => taken($("view")));
}

async function turnOn() {
  try {
    $("view").srcObject = await navigator.mediaDevices.getUserMedia(WANTED);
    await $("view").play();
  } catch (error) {
    showProblem(`The camera cannot be used (${messageOf(error)}).`);
    return;
  }
  show(true);
  $("shoot").focus();
}

function turnOff() {
  for (const track of $("view").srcObject.getTracks()) track.stop();
  $("view").srcObject = null;
  show(false);
  $("camera").focus();
}

function show(on) {
  $("camera").hidden = on;
  for (const id of ["view", "shoot", "camera-off"]) $(id).hidden = !on;
}
