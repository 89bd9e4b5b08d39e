/** Memory as platforms hold it -> an upright picture for [preprocess]. See Mvit2.kt. SPDX-License-Identifier: MIT */
package mvit2

import java.nio.ByteBuffer

/**
 * Decoded, upright pixels, row by row without gaps.
 *
 * @property pixels `[height][width][channels]`.
 * @property channels 3 (RGB) or 4 (RGBA, of which alpha is ignored).
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
class Picture(val pixels: ByteArray, val width: Int, val height: Int, val channels: Int) {
    init {
        checkEdges(width, height)
        if (channels != 3 && channels != 4) throw refusal("channels", channels, "3 (RGB), 4 (RGBA)")
        val size = width * height * channels
        if (pixels.size != size) throw refusal("pixels.size", pixels.size, "$size")
    }

    /**
     * Turned as EXIF says: 1 is upright, and so is 0, which readers give where nothing is said.
     *
     * @throws IllegalArgumentException another number, such as degrees: see [orientationOf].
     */
    fun upright(orientation: Int): Picture {
        if (orientation !in 0..8) throw refusal("orientation", orientation, "1..8, as EXIF counts")
        if (orientation < 2) return this
        val leftwards = orientation in intArrayOf(2, 3, 7, 8)
        val upwards = orientation in intArrayOf(3, 4, 6, 7)
        val x = if (leftwards) -channels else channels
        val y = if (upwards) -channels * width else channels * width
        val start = (if (leftwards) (width - 1) * channels else 0) + if (upwards) (height - 1) * width * channels else 0
        val turned = orientation >= 5
        val (tall, wide) = if (turned) width to height else height to width
        val target = ByteArray(pixels.size)
        var to = 0
        for (row in 0 until tall) {
            for (column in 0 until wide) {
                val from = start + if (turned) row * x + column * y else row * y + column * x
                for (c in 0 until channels) target[to++] = pixels[from + c]
            }
        }
        return Picture(target, wide, tall, channels)
    }
}

/**
 * The EXIF orientation of a camera frame that must be turned clockwise to stand upright.
 *
 * @throws IllegalArgumentException no multiple of 90 below 360.
 */
fun orientationOf(rotationDegrees: Int): Int = when (rotationDegrees) {
    0 -> 1
    90 -> 6
    180 -> 3
    270 -> 8
    else -> throw refusal("rotationDegrees", rotationDegrees, "0, 90, 180, 270")
}

/**
 * Packed colours 0xAARRGGBB, `[height][width]`, as a Bitmap and a BufferedImage give them -> an RGB picture.
 *
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
fun pictureOf(colours: IntArray, width: Int, height: Int): Picture {
    checkEdges(width, height)
    if (colours.size != width * height) throw refusal("colours.size", colours.size, "${width * height}")
    val pixels = ByteArray(colours.size * 3)
    for (i in colours.indices) {
        for (c in 0 until 3) pixels[i * 3 + c] = (colours[i] shr (16 - 8 * c)).toByte()
    }
    return Picture(pixels, width, height, 3)
}

/** One plane of a camera frame: where its values lie, in bytes from the buffer's beginning. */
class Plane(val buffer: ByteBuffer, val rowStride: Int, val pixelStride: Int) {
    internal fun at(row: Int, column: Int) = buffer.get(row * rowStride + column * pixelStride).toInt() and 0xFF

    internal fun check(name: String, width: Int, height: Int) {
        val needed = (height - 1L) * rowStride + (width - 1L) * pixelStride + 1
        if (rowStride < 0 || pixelStride < 1 || needed > buffer.limit()) {
            throw refusal("plane $name", "${buffer.limit()} bytes", "strides that fit $width x $height values")
        }
    }
}

/**
 * A camera frame of format YUV_420_888, full range as in JPEG (BT.601) -> an RGB picture. Every four pixels share the
 * nearest u and v; the numbers are those of libjpeg (jdcolor.c).
 *
 * @param planes y, u, v.
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
fun pictureOf(planes: List<Plane>, width: Int, height: Int): Picture {
    checkEdges(width, height)
    if (planes.size != 3) throw refusal("planes.size", planes.size, "3 (y, u, v)")
    val (y, u, v) = planes
    y.check("y", width, height)
    u.check("u", (width + 1) / 2, (height + 1) / 2)
    v.check("v", (width + 1) / 2, (height + 1) / 2)
    val pixels = ByteArray(width * height * 3)
    for (row in 0 until height) {
        for (column in 0 until width) {
            val light = y.at(row, column)
            val blue = u.at(row / 2, column / 2) - 128
            val red = v.at(row / 2, column / 2) - 128
            val to = (row * width + column) * 3
            pixels[to] = clipped(light + scaled(91881 * red)) // 1.402
            pixels[to + 1] = clipped(light + scaled(-22554 * blue - 46802 * red)) // 0.34414, 0.71414
            pixels[to + 2] = clipped(light + scaled(116130 * blue)) // 1.772
        }
    }
    return Picture(pixels, width, height, 3)
}

/** Units of 2^-16, rounded. */
private fun scaled(sum: Int) = (sum + (1 shl 15)) shr 16

private fun clipped(value: Int) = value.coerceIn(0, 255).toByte()

internal fun checkEdges(width: Int, height: Int) {
    if (width < 1) throw refusal("width", width, "1 or more")
    if (height < 1) throw refusal("height", height, "1 or more")
    if (width.toLong() * height > MAX_PIXELS) throw tooLarge("${width}x$height")
}
