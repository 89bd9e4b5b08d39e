/** A PNG as the golden pictures are: 8 bits, RGB, not interlaced. Unit tests on the JVM have no Bitmap. */
package mvit2

import java.io.ByteArrayOutputStream
import java.io.DataInputStream
import java.util.zip.InflaterInputStream
import kotlin.math.abs

private const val CHANNELS = 3

fun png(bytes: ByteArray): Picture {
    val file = DataInputStream(bytes.inputStream())
    val packed = ByteArrayOutputStream()
    var size = 0 to 0
    file.skipBytes(8)
    while (true) {
        val body = ByteArray(file.readInt())
        val kind = String(ByteArray(4).also(file::readFully), Charsets.US_ASCII)
        file.readFully(body)
        file.readInt() // a checksum
        when (kind) {
            "IHDR" -> size = DataInputStream(body.inputStream()).let { it.readInt() to it.readInt() }
            "IDAT" -> packed.write(body)
            "IEND" -> break
        }
    }
    val (width, height) = size
    val lines = InflaterInputStream(packed.toByteArray().inputStream()).readBytes()
    return Picture(unfiltered(lines, width * CHANNELS, height), width, height, CHANNELS)
}

/** Each line begins with the number of its filter, which says what was subtracted from its bytes. */
private fun unfiltered(lines: ByteArray, row: Int, height: Int): ByteArray {
    val pixels = ByteArray(row * height)
    fun at(y: Int, x: Int) = if (y < 0 || x < 0) 0 else pixels[y * row + x].toInt() and 0xFF
    for (y in 0 until height) {
        val filter = lines[y * (row + 1)].toInt()
        for (x in 0 until row) {
            val (left, up) = at(y, x - CHANNELS) to at(y - 1, x)
            val subtracted = when (filter) {
                0 -> 0
                1 -> left
                2 -> up
                3 -> (left + up) / 2
                else -> paeth(left, up, at(y - 1, x - CHANNELS))
            }
            pixels[y * row + x] = (lines[y * (row + 1) + 1 + x] + subtracted).toByte()
        }
    }
    return pixels
}

/** Of the three the one nearest to left + up - corner. */
private fun paeth(left: Int, up: Int, corner: Int): Int {
    val (toLeft, toUp, toCorner) = listOf(abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
    return if (toLeft <= toUp && toLeft <= toCorner) left else if (toUp <= toCorner) up else corner
}
