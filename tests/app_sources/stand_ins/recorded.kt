/**
 * These files declare what the sources for apps use of Android, LiteRT, ONNX Runtime and JUnit, as published, so that a
 * whole app folder is compiled and its tests run on the JVM of a desk. No model runs: in its place stands this table.
 */
package stand_ins

import mvit2.Bytes
import mvit2.Floats
import mvit2.Golden
import mvit2.OpenModel
import mvit2.Tensor
import mvit2.pixelValues
import mvit2.preprocessSpec
import org.json.JSONObject
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.ln
import kotlin.math.max

/** Answers golden inputs with what was recorded, bit by bit, and fails for any other. */
object Recorded {
    private val folders = listOf("src/main/assets", "src/androidTest/assets")
    val golden = Golden { asset(it).readBytes() }
    private val manifest = JSONObject(asset("mvit2/manifest.json").readText())

    fun asset(path: String) = folders.map { File(it, path) }.first { it.exists() }

    /** Of probabilities the vectors hold those that come of a bare network's logits. */
    fun answer(path: String, input: ByteArray): Tensor {
        val takesPixels = manifest.getString("io") == "image"
        val spec = preprocessSpec(manifest.getJSONObject("preprocess"))
        val index = golden.cases.indexOfFirst {
            input.contentEquals(if (takesPixels) it.pixels else bytes(pixelValues(it.pixels, spec)))
        }
        check(index >= 0) { "$path was given what is no golden input" }
        val recorded = off(golden.recorded(File(path).name)[index])
        if (takesPixels || golden.floor == null || recorded !is Floats) return recorded
        return Floats(FloatArray(recorded.values.size) { ln(max(recorded.values[it], Float.MIN_VALUE)) })
    }
}

private const val ZERO: Byte = 0

/** By as much as the test says: its first number, or so many of its pixels. */
private fun off(recorded: Tensor): Tensor {
    val amount = System.getProperty("off", "0").toDouble()
    when (recorded) {
        is Floats -> recorded.values[0] += amount.toFloat()
        is Bytes -> for (i in 0 until amount.toInt()) recorded.values[i] = if (recorded.values[i] == ZERO) 1 else 0
    }
    return recorded
}

fun bytes(values: FloatArray): ByteArray {
    val buffer = ByteBuffer.allocate(values.size * 4).order(ByteOrder.nativeOrder())
    buffer.asFloatBuffer().put(values)
    return buffer.array()
}

/** Runs the methods marked as tests of the classes that are named, then what answers/ has for the task. */
fun main(classes: Array<String>) {
    for (name in classes) {
        val type = Class.forName(name)
        for (method in type.methods.filter { it.isAnnotationPresent(org.junit.Test::class.java) }) {
            method.invoke(type.getDeclaredConstructor().newInstance())
            println("passed: $name.${method.name}")
        }
    }
    val file = Recorded.asset("mvit2").list()!!.first { it.startsWith("model") }
    val model = use(file) { _, path, _ -> Replay(path) }
    File("labels.seen").writeText(model.labels.joinToString("\n"))
}

private class Replay(private val path: String) : OpenModel {
    override fun run(input: Tensor) = when (input) {
        is Bytes -> Recorded.answer(path, input.values)
        is Floats -> Recorded.answer(path, bytes(input.values))
    }

    override fun close() = Unit
}
