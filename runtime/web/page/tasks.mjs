/**
 * What the page does differently by task, a row for each task that a manifest may name:
 *
 *     model                    opens a model file of such a bundle
 *     network                  what the bundle holds, in words
 *     verb                     what a button does to a picture
 *     setUp(place)             controls of its own, before the first answer
 *     keep(image)              of a decoded picture, what is shown with the answers
 *     read(model, scores, size)  what the model says of a picture of this size -> an answer
 *     show(place, answer, picture)  the answer, in a place of its own; `picture` is { name, kept }
 *     say(answer)              the answer in a few words
 */
import { CLASSIFY } from "./classify.mjs";
import { SEGMENT } from "./segment.mjs";

export const TASKS = { "image-classification": CLASSIFY, "semantic-segmentation": SEGMENT };
