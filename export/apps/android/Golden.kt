/** The golden vectors: pictures, the pixels that preprocessing makes of them, what each model file gave for these. */
package mvit2

import org.json.JSONObject
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.ln
import kotlin.math.max

/** @property picture path of a PNG; null where the pixels are made up. */
class GoldenCase(val name: String, val picture: String?, val pixels: ByteArray)

/** @param read what a path below golden/ holds. */
class Golden(private val read: (String) -> ByteArray) {
    private val index = JSONObject(String(read("golden/golden.json"), Charsets.UTF_8))
    private val output = index.getJSONObject("output")

    /** Of probabilities, which are compared by their logarithms: the smallest that counts. */
    val floor = if (output.isNull("floor")) null else output.getDouble("floor")

    val cases: List<GoldenCase> = index.getJSONArray("cases").let { all ->
        (0 until all.length()).map { all.getJSONObject(it) }.map {
            val picture = if (it.isNull("picture")) null else it.getString("picture")
            GoldenCase(it.getString("name"), picture, read(it.getString("pixels")))
        }
    }

    /** The sizes of one answer: classes; height, width, classes; or height, width. */
    val shape: List<Int> = output.getJSONArray("shape").let { all -> (0 until all.length()).map { all.getInt(it) } }

    /** The accepted [difference] on another CPU or engine. */
    fun tolerance(file: String) = scores(file).getDouble("tolerance")

    /** What the model file gave for each case. */
    fun recorded(file: String): List<Tensor> {
        val bytes = ByteBuffer.wrap(read(scores(file).getString("file"))).order(ByteOrder.LITTLE_ENDIAN)
        val size = shape.fold(1) { product, edge -> product * edge }
        val masks = output.getString("dtype") == "uint8"
        val answers = cases.map {
            if (masks) Bytes(ByteArray(size).also { bytes.get(it) }) else Floats(FloatArray(size) { bytes.getFloat() })
        }
        require(!bytes.hasRemaining()) { "${bytes.remaining()} bytes too many in the answers of $file" }
        return answers
    }

    /**
     * How far an answer is from the recorded one of a case, in units of the tolerance: of probabilities the largest
     * difference of logarithms, of logits that by the range of all recorded, of masks the share of pixels. NaN where
     * there is one.
     */
    fun difference(found: Tensor, recorded: List<Tensor>, case: Int): Double {
        val expected = recorded[case]
        if (expected is Bytes) return differing(bytes(found), expected.values).toDouble() / expected.values.size
        val (a, b) = floats(found) to floats(expected)
        require(a.size == b.size) { "${a.size} numbers, expected ${b.size}" }
        if (floor != null) return a.indices.maxOf { abs(logarithm(a[it], floor) - logarithm(b[it], floor)) }
        val range = recorded.maxOf { floats(it).max() } - recorded.minOf { floats(it).min() }
        return a.indices.maxOf { abs(a[it] - b[it]) }.toDouble() / max(range, java.lang.Float.MIN_NORMAL)
    }

    private fun logarithm(p: Float, floor: Double) = ln(max(p.toDouble(), floor))

    private fun scores(file: String) = index.getJSONObject("scores").getJSONObject(file)
}

/** How many bytes are not the same. */
fun differing(a: ByteArray, b: ByteArray): Int {
    require(a.size == b.size) { "${a.size} bytes, expected ${b.size}" }
    return a.indices.count { a[it] != b[it] }
}
