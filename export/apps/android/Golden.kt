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
    private val floor = index.getJSONObject("output").getDouble("floor")

    val cases: List<GoldenCase> = index.getJSONArray("cases").let { all ->
        (0 until all.length()).map { all.getJSONObject(it) }.map {
            val picture = if (it.isNull("picture")) null else it.getString("picture")
            GoldenCase(it.getString("name"), picture, read(it.getString("pixels")))
        }
    }

    /** The accepted [difference] on another CPU or engine. */
    fun tolerance(file: String) = scores(file).getDouble("tolerance")

    /** What the model file gave for each case. */
    fun recorded(file: String): List<FloatArray> {
        val bytes = ByteBuffer.wrap(read(scores(file).getString("file"))).order(ByteOrder.LITTLE_ENDIAN)
        val numbers = bytes.asFloatBuffer()
        val classes = numbers.remaining() / cases.size
        return cases.map { FloatArray(classes).also { scores -> numbers.get(scores) } }
    }

    /** Largest difference of log-probabilities; NaN where there is one. */
    fun difference(a: FloatArray, b: FloatArray): Double {
        require(a.size == b.size) { "${a.size} scores, expected ${b.size}" }
        return a.indices.maxOf { abs(logarithm(a[it]) - logarithm(b[it])) }
    }

    private fun logarithm(p: Float) = ln(max(p.toDouble(), floor))

    private fun scores(file: String) = index.getJSONObject("scores").getJSONObject(file)
}

/** How many bytes are not the same. */
fun differing(a: ByteArray, b: ByteArray): Int {
    require(a.size == b.size) { "${a.size} bytes, expected ${b.size}" }
    return a.indices.count { a[it] != b[it] }
}
