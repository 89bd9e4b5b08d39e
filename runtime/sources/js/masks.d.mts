import type { PreprocessSpec } from "./mvit2.mjs";

/** A size in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The class of every pixel of a picture. */
export interface Mask extends Size {
  /** Class indices, `width * height`, row by row; `NOT_SEEN` outside the box. */
  readonly mask: Uint8Array;
  /** Of what the network saw: left, top, and the first column and row behind it. */
  readonly box: readonly [left: number, top: number, right: number, bottom: number];
}

/** How much of a picture is of a class: the share of all its pixels. */
export interface Area {
  readonly index: number;
  readonly share: number;
}

/** The class of pixels that the crop left out (255). A network of 256 classes has a class of that index: see `box`. */
export const NOT_SEEN: number;
/** Most classes of a mask (256). */
export const MAX_CLASSES: number;

/**
 * Logits -> the class of every pixel of the picture: resize and crop are undone, bilinear, the largest wins.
 *
 * @param shape of the logits: height, width, classes.
 * @param size of the upright picture that went into `preprocess` with this spec.
 * @throws RangeError numbers that are not finite, another length, a size that cannot be used.
 */
export function logitsOnPicture(
  logits: Float32Array,
  shape: readonly [height: number, width: number, classes: number],
  size: Size,
  spec: PreprocessSpec,
): Mask;

/**
 * The mask of the network's input -> that of the picture: every pixel takes the nearest.
 *
 * @throws RangeError a class that the network does not have, another length, a size that cannot be used.
 */
export function maskOnPicture(mask: Uint8Array, classes: number, size: Size, spec: PreprocessSpec): Mask;

/** The classes that are in it, the largest first. */
export function areasOf(mask: Mask): Area[];

/**
 * The classes' colours over the picture, RGBA; where a class is black, or nothing was seen, the picture stays.
 *
 * @param image the picture's RGBA, in its size or any other.
 * @param found with "#rrggbb" for each class.
 * @param opacity 0..1; default 0.5.
 * @throws RangeError an opacity that is none.
 */
export function overlay(
  image: Size & { readonly data: Uint8ClampedArray },
  found: Mask & { readonly colors: readonly string[] },
  opacity?: number,
): ImageData["data"];
