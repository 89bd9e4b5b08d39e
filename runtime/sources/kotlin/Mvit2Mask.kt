/**
 * A segmentation network's answer -> the class of every pixel of the picture. See Mvit2.kt.
 *
 * Resize and crop are undone, as mvit2.runtime.Segmenter does it in Python: the mask lies on the upright picture.
 *
 * SPDX-License-Identifier: MIT
 */
package mvit2

import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** In a mask, pixels that the network did not see. (One of 256 classes has a class of that index: see [Mask.box].) */
const val NOT_SEEN = 255

/** A mask's pixel is one byte. */
const val MAX_MASK_CLASSES = 256

private const val BROKEN = "the model is broken: check it against its checkpoint"

/** In pixels; right and bottom are the first that do not belong to it. */
data class Box(val left: Int, val top: Int, val right: Int, val bottom: Int)

/** A class that is in a picture, and its share of all the picture's pixels. */
data class Area(val index: Int, val share: Double)

/**
 * @property pixels the class of every pixel, uint8 `[height][width]`, or [NOT_SEEN].
 * @property box what the network saw of the picture; empty, it may be, of a picture of two pixels.
 */
class Mask(val pixels: ByteArray, val width: Int, val height: Int, val box: Box) {
    /** The classes that are there, the largest first. */
    fun areas(): List<Area> {
        val counts = IntArray(MAX_MASK_CLASSES)
        eachSeen { counts[pixels[it].toInt() and 0xFF]++ }
        val present = counts.indices.filter { counts[it] > 0 }.sortedByDescending { counts[it] } // stable
        return present.map { Area(it, counts[it].toDouble() / pixels.size) }
    }

    /**
     * The classes' colours, to be drawn over the picture: packed 0xAARRGGBB, `[height][width]`. Pixels of a black
     * class, as the background is, and those that were not seen are transparent.
     *
     * @param colors 0xRRGGBB by class; what lies above is ignored.
     * @throws IllegalArgumentException opacity not in 0..1.
     */
    fun layer(colors: IntArray, opacity: Double = 0.5): IntArray {
        if (!(opacity in 0.0..1.0)) throw refusal("opacity", opacity, "0..1")
        val alpha = round(255 * opacity).toInt() shl 24
        val shown = IntArray(MAX_MASK_CLASSES) {
            val color = colors.getOrElse(it) { 0 } and 0xFFFFFF
            if (color == 0) 0 else alpha or color
        }
        val layer = IntArray(pixels.size)
        eachSeen { layer[it] = shown[pixels[it].toInt() and 0xFF] }
        return layer
    }

    private inline fun eachSeen(use: (Int) -> Unit) {
        for (row in box.top until box.bottom) {
            for (at in row * width + box.left until row * width + box.right) use(at)
        }
    }
}

/** One axis of a picture, in pixels: of the picture, after the resize, of the crop that is the network's input. */
private class Way(val picture: Int, private val resized: Int, private val network: Int) {
    private val start = (resized - network) shr 1 // of the crop on the resized picture; below 0 where zeros come first

    /** The pixels whose middle lies in the crop. */
    val seen = max(0, firstAt(start)) until min(picture, firstAt(start + network))

    /** In which pixel of the network's input the middle of a pixel lies, exactly. */
    fun nearest(pixel: Int) = (doubledMiddle(pixel) / (2L * picture)).toInt() - start

    /** Between which two of so many cells over the network's input the middle lies, and how far from the first. */
    fun between(pixel: Int, cells: Int): Double {
        val onNetwork = doubledMiddle(pixel).toDouble() / (2L * picture) - start
        return (onNetwork * (cells.toDouble() / network) - 0.5).coerceIn(0.0, cells - 1.0) // from the first's middle
    }

    private fun doubledMiddle(pixel: Int) = (2L * pixel + 1) * resized

    private fun firstAt(edge: Int) = -(resized - 2L * picture * edge).floorDiv(2L * resized).toInt()
}

/** Which two of so many cells each pixel that was seen is a mixture of, and of how much of each. */
private class Mixture(way: Way, cells: Int) {
    private val places = way.seen.map { way.between(it, cells) }
    val low = IntArray(places.size) { places[it].toInt() }
    val high = IntArray(places.size) { min(low[it] + 1, cells - 1) }
    val ofHigh = FloatArray(places.size) { (places[it] - low[it]).toFloat() }
    val ofLow = FloatArray(places.size) { (1 - (places[it] - low[it])).toFloat() }
}

/**
 * Logits, float `[cells.height][cells.width][classes]` over the network's input -> the winning class of every pixel,
 * interpolated bilinearly; of equal ones the lower index wins. Besides the mask this takes memory for one row.
 *
 * @param picture the upright picture's size, before [preprocess].
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
fun logitsOnPicture(
    logits: FloatArray, cells: ImageSize, classes: Int, picture: ImageSize, spec: PreprocessSpec,
): Mask {
    checkClasses(classes)
    checkCount("logits", logits.size, cells, classes)
    val broken = logits.indexOfFirst { !it.isFinite() }
    if (broken >= 0) throw refusal("logit $broken", logits[broken], "finite numbers; $BROKEN")
    val (rows, columns) = ways(picture, spec)
    val (y, x) = Mixture(rows, cells.height) to Mixture(columns, cells.width)
    val line = FloatArray(cells.width * classes)
    val best = IntArray(cells.width)
    return mask(rows, columns) { pixels, row, start ->
        val i = row - rows.seen.first
        val upper = y.low[i] * line.size
        val lower = y.high[i] * line.size
        for (at in line.indices) line[at] = y.ofLow[i] * logits[upper + at] + y.ofHigh[i] * logits[lower + at]
        for (cell in best.indices) best[cell] = winner(classes) { line[cell * classes + it] }
        for (column in x.low.indices) {
            val low = x.low[column]
            val high = x.high[column]
            var winner = best[low]
            if (winner != best[high]) { // else it wins everywhere between them
                winner = winner(classes) {
                    x.ofLow[column] * line[low * classes + it] + x.ofHigh[column] * line[high * classes + it]
                }
            }
            pixels[start + column] = winner.toByte()
        }
    }
}

/** Of equal scores the lower index wins. */
private inline fun winner(classes: Int, score: (Int) -> Float): Int {
    var best = 0
    var most = score(0)
    for (c in 1 until classes) {
        val other = score(c)
        if (other > most) {
            most = other
            best = c
        }
    }
    return best
}

/**
 * Classes by pixel of the network's input, uint8 `[height][width]`, as bundles of `--output-kind mask` give them -> the
 * class of every pixel of the picture: that of the network's pixel in which its middle lies.
 *
 * @param picture the upright picture's size, before [preprocess].
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
fun maskOnPicture(found: ByteArray, classes: Int, picture: ImageSize, spec: PreprocessSpec): Mask {
    checkClasses(classes)
    checkCount("mask", found.size, spec.imageSize, 1)
    val broken = found.indexOfFirst { (it.toInt() and 0xFF) >= classes }
    if (broken >= 0) {
        throw refusal("class of pixel $broken", found[broken].toInt() and 0xFF, "0..${classes - 1}; $BROKEN")
    }
    val (rows, columns) = ways(picture, spec)
    val from = IntArray(columns.seen.count()) { columns.nearest(columns.seen.first + it) }
    return mask(rows, columns) { pixels, row, start ->
        val line = rows.nearest(row) * spec.imageSize.width
        for (column in from.indices) pixels[start + column] = found[line + from[column]]
    }
}

private fun ways(picture: ImageSize, spec: PreprocessSpec): Pair<Way, Way> {
    checkEdges(picture.width, picture.height)
    val (tall, wide) = resized(picture, spec)
    return Way(picture.height, tall, spec.imageSize.height) to Way(picture.width, wide, spec.imageSize.width)
}

/** @param fill the mask's pixels, a row, and where the first of it that was seen lies. */
private inline fun mask(rows: Way, columns: Way, fill: (ByteArray, Int, Int) -> Unit): Mask {
    val pixels = ByteArray(rows.picture * columns.picture)
    pixels.fill(NOT_SEEN.toByte())
    for (row in rows.seen) fill(pixels, row, row * columns.picture + columns.seen.first)
    val box = Box(columns.seen.first, rows.seen.first, columns.seen.last + 1, rows.seen.last + 1)
    return Mask(pixels, columns.picture, rows.picture, box)
}

private fun checkClasses(classes: Int) {
    if (classes !in 1..MAX_MASK_CLASSES) throw refusal("classes", classes, "1..$MAX_MASK_CLASSES")
}

private fun checkCount(name: String, count: Int, size: ImageSize, classes: Int) {
    val expected = size.height.toLong() * size.width * classes
    if (size.height < 1 || size.width < 1 || count.toLong() != expected) {
        throw refusal("$name.size", count, "$expected: ${size.height} x ${size.width} x $classes")
    }
}
