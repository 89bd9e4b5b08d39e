/**
 * What an app does around a mvit2 model: a decoded picture -> the model's pixels. Its answer: Mvit2Scores.kt of a
 * classifier, Mvit2Mask.kt of a segmentation network.
 *
 * The pixels are those of mvit2.image.preprocess in Python, bit for bit: the antialiased resize of Pillow 13 (two
 * passes in fixed point, after libImaging/Resample.c) and a centre crop. Neither the JVM nor ART fuses additions and
 * multiplications, so doubles are exact. No dependencies and no state: every function may run on any thread.
 *
 *     val spec = PreprocessSpec(ImageSize(256, 256), resizeShortest = 288) // the manifest's
 *     val pixels = preprocess(Picture(rgba, 4032, 3024, 4), spec) // on Android: bitmap.toPicture(), Mvit2Bitmap.kt
 *
 * Line for line the same as the C sources. SPDX-License-Identifier: MIT
 */
package mvit2

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/** Largest picture, before and after the resize, in pixels (134 megapixels). */
const val MAX_PIXELS = 1 shl 27

/** Longest edge, in pixels, that a spec may ask for. */
const val MAX_EDGE = 8192

// Weights are whole numbers of 2^-22: 32 bits less 8 of the pixel, and 2 because bicubic weights overshoot 0..1.
private const val PRECISION = 22

/** In pixels, in the order of the manifest. */
data class ImageSize(val height: Int, val width: Int) {
    override fun toString() = "$height,$width"
}

/** Pillow's antialiased filters. */
enum class Resample(internal val support: Double, internal val kernel: (Double) -> Double) { // beyond support it is 0
    BILINEAR(1.0, ::bilinear),
    BICUBIC(2.0, ::bicubic),
}

enum class ChannelOrder { RGB, BGR }

/**
 * "preprocess" of a bundle's manifest.json. At most one resize is not null.
 *
 * @property imageSize of the model's input.
 * @property resizeShortest the shortest edge becomes this long, the aspect ratio is kept.
 * @property resizeExact to stretch to.
 * @property channelOrder only [pixelValues] reads this and what follows: an "image" bundle has all of it in its graph.
 * @property mean of red, green and blue, as [std]: the network sees (pixel * scale - mean) / std.
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
data class PreprocessSpec(
    val imageSize: ImageSize,
    val resizeShortest: Int? = null,
    val resizeExact: ImageSize? = null,
    val resample: Resample = Resample.BILINEAR,
    val channelOrder: ChannelOrder = ChannelOrder.RGB,
    val scale: Double = 1 / 255.0,
    val mean: List<Double> = listOf(0.0, 0.0, 0.0),
    val std: List<Double> = listOf(1.0, 1.0, 1.0),
) {
    init {
        checkSize("image_size", imageSize)
        resizeExact?.let { checkSize("resize_exact", it) }
        if (resizeShortest != null && resizeShortest !in 1..MAX_EDGE) {
            throw refusal("resize_shortest", resizeShortest, "null, 1..$MAX_EDGE")
        }
        if (resizeShortest != null && resizeExact != null) {
            throw refusal("resize_exact", resizeExact, "null beside a resize_shortest")
        }
        if (!(scale > 0 && scale.isFinite())) throw refusal("scale", scale, "a finite number above 0")
        if (mean.size != 3 || !mean.all { it.isFinite() }) throw refusal("mean", mean, "three finite numbers")
        if (std.size != 3 || !std.all { it > 0 && it.isFinite() }) {
            throw refusal("std", std, "three finite numbers above 0")
        }
    }
}

// ---- weights ----

private fun bilinear(distance: Double): Double {
    val x = abs(distance)
    return if (x < 1) 1 - x else 0.0
}

/** Keys' cubic convolution with a = -0.5. */
private fun bicubic(distance: Double): Double {
    val a = -0.5
    val x = abs(distance)
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a
    return 0.0
}

private fun fixedPoint(weight: Double) = (weight * (1 shl PRECISION) + if (weight < 0) -0.5 else 0.5).toInt()

/** Resize an edge to out pixels and show wanted of them: the middle, rounded down, zeros around what is smaller. */
private class Axis(val edge: Int, val out: Int, wanted: Int, filter: Resample) {
    private val begin = if (out > wanted) (out - wanted) / 2 else 0 // the first resized pixel that the crop shows
    val count = min(out, wanted) // how many it shows
    val pad = if (out > wanted) 0 else (wanted - out + 1) / 2 // zeros before them
    private val scale = if (edge == out) 1.0 else edge.toFloat().toDouble() / out // Pillow's float: coarse above 2^24
    private val stretch = max(1.0, scale) // a smaller picture averages over more pixels
    val stride = 2 * ceil(filter.support * stretch).toInt() + 1 // weights kept for each resized pixel
    val first = IntArray(count) // the first input pixel that a resized pixel sees
    val taps = IntArray(count) // how many it sees
    val weights = IntArray(count * stride) // in units of 2^-PRECISION

    init {
        weigh(filter)
    }

    private fun weigh(filter: Resample) {
        val support = filter.support * stretch
        val shrink = 1 / stretch
        for (i in 0 until count) {
            val centre = (begin + i + 0.5) * scale
            first[i] = max(0, (centre - support + 0.5).toInt())
            taps[i] = min(edge, (centre + support + 0.5).toInt()) - first[i]
            var total = 0.0
            for (t in 0 until taps[i]) total += filter.kernel((t + first[i] - centre + 0.5) * shrink)
            for (t in 0 until taps[i]) {
                weights[i * stride + t] = fixedPoint(filter.kernel((t + first[i] - centre + 0.5) * shrink) / total)
            }
        }
    }
}

// ---- the two passes ----

/** Where the pixels of a pass lie, in bytes: along the axis that it resizes, and across, from line to line. */
private class Lines(val bytes: ByteArray, val start: Int, val along: Int, val across: Int)

private fun resample(from: Lines, to: Lines, lines: Int, axis: Axis) {
    for (i in 0 until axis.count) {
        for (line in 0 until lines) {
            val source = from.start + axis.first[i] * from.along + line * from.across
            val target = to.start + i * to.along + line * to.across
            for (c in 0 until 3) to.bytes[target + c] = blend(from, source + c, axis, i)
        }
    }
}

/** The weighted mean of the bytes that resized pixel i sees, rounded, clipped to 0..255. */
private fun blend(from: Lines, start: Int, axis: Axis, i: Int): Byte {
    val bytes = from.bytes
    val weights = axis.weights
    val offset = i * axis.stride
    var sum = 1 shl (PRECISION - 1)
    for (t in 0 until axis.taps[i]) sum += (bytes[start + t * from.along].toInt() and 0xFF) * weights[offset + t]
    return (sum shr PRECISION).coerceIn(0, 255).toByte()
}

/** Both passes, in Pillow 13's order: each pass rounds, so the order decides about bits. */
private fun resize(picture: Picture, x: Axis, y: Axis, size: ImageSize): ByteArray {
    val shorter = y.edge - y.out
    val verticalFirst = shorter > 0 && shorter > 2 * (x.edge - x.out)
    val (first, second) = if (verticalFirst) y to x else x to y
    val begin = second.first[0] // of the lines, the second pass needs only these
    val lines = second.first.last() + second.taps.last() - begin
    val rows = ByteArray(lines * first.count * 3)
    for (i in 0 until second.count) second.first[i] -= begin

    val pixel = picture.channels
    val row = pixel * picture.width
    val outRow = 3 * size.width
    val line = 3 * first.count
    val output = ByteArray(size.height * outRow)
    val start = y.pad * outRow + x.pad * 3
    val (along, across) = if (verticalFirst) row to pixel else pixel to row
    val (outAlong, outAcross) = if (verticalFirst) 3 to outRow else outRow to 3
    resample(Lines(picture.pixels, begin * across, along, across), Lines(rows, 0, 3, line), lines, first)
    resample(Lines(rows, 0, line, 3), Lines(output, start, outAlong, outAcross), first.count, second)
    return output
}

// ---- sizes ----

internal fun refusal(name: String, value: Any?, accepted: String): IllegalArgumentException {
    val shown = if (value is String) "\"${value.replace('\n', ' ')}\"" else value.toString()
    return IllegalArgumentException("$name = ${shown.take(80)} cannot be used; accepted: $accepted")
}

internal fun tooLarge(vararg sizes: String) = IllegalArgumentException(
    "the picture is too large, or too long and thin (${sizes.joinToString(" -> ")}); accepted: at most $MAX_PIXELS " +
        "pixels before and after the resize; make it smaller or crop it first",
)

private fun checkSize(name: String, size: ImageSize) {
    if (size.height !in 1..MAX_EDGE || size.width !in 1..MAX_EDGE) {
        throw refusal(name, size, "[height, width], each 1..$MAX_EDGE")
    }
}

/** A picture's size after the resize. */
internal fun resized(picture: ImageSize, spec: PreprocessSpec): ImageSize {
    val height = picture.height.toLong()
    val width = picture.width.toLong()
    val shortest = spec.resizeShortest?.toLong()
    val (tall, wide) = when {
        spec.resizeExact != null -> spec.resizeExact.height.toLong() to spec.resizeExact.width.toLong()
        shortest == null -> height to width
        width <= height -> shortest * height / width to shortest
        else -> shortest to shortest * width / height
    }
    if (tall * wide > MAX_PIXELS) throw tooLarge("${width}x$height", "${wide}x$tall")
    return ImageSize(tall.toInt(), wide.toInt())
}

// ---- the interface ----

/**
 * A picture -> the model's input, uint8 RGB `[height][width][3]`; zeros where the picture is smaller.
 *
 * @throws IllegalArgumentException the resize would be too large.
 */
fun preprocess(picture: Picture, spec: PreprocessSpec): ByteArray {
    val (tall, wide) = resized(ImageSize(picture.height, picture.width), spec)
    val x = Axis(picture.width, wide, spec.imageSize.width, spec.resample)
    val y = Axis(picture.height, tall, spec.imageSize.height, spec.resample)
    return resize(picture, x, y, spec.imageSize)
}

/**
 * Only for bundles of `--io tensor`: preprocessed pixels -> float `[3][height][width]`, ordered and scaled.
 *
 * @throws IllegalArgumentException another number of pixels than the spec makes.
 */
fun pixelValues(pixels: ByteArray, spec: PreprocessSpec): FloatArray {
    val plane = spec.imageSize.height * spec.imageSize.width
    if (pixels.size != plane * 3) throw refusal("pixels.size", pixels.size, "${plane * 3}")
    val values = FloatArray(plane * 3)
    for (c in 0 until 3) {
        val from = if (spec.channelOrder == ChannelOrder.BGR) 2 - c else c
        val seen = FloatArray(256) { ((it * spec.scale - spec.mean[from]) / spec.std[from]).toFloat() }
        for (i in 0 until plane) values[c * plane + i] = seen[pixels[i * 3 + from].toInt() and 0xFF]
    }
    return values
}
