/**
 * These files declare what the sources for apps use of Android, LiteRT, ONNX Runtime and JUnit, as published, so that a
 * whole app folder is compiled and its tests run on the JVM of a desk. No model runs: in its place stands this table.
 */
package stand_ins

import android.content.res.AssetManager
import mvit2.Golden
import mvit2.Mvit2Classifier
import mvit2.OpenModel
import mvit2.pixelValues
import mvit2.preprocessSpec
import org.json.JSONObject
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.ln
import kotlin.math.max

/** Answers golden inputs with the recorded scores, bit by bit, and fails for any other. */
object Recorded {
    private val folders = listOf("src/main/assets", "src/androidTest/assets")
    private val golden = Golden { asset(it).readBytes() }
    private val manifest = JSONObject(asset("mvit2/manifest.json").readText())

    fun asset(path: String) = folders.map { File(it, path) }.first { it.exists() }

    fun answer(path: String, input: ByteArray): FloatArray {
        val takesPixels = manifest.getString("io") == "image"
        val spec = preprocessSpec(manifest.getJSONObject("preprocess"))
        val index = golden.cases.indexOfFirst {
            input.contentEquals(if (takesPixels) it.pixels else bytes(pixelValues(it.pixels, spec)))
        }
        check(index >= 0) { "$path was given what is no golden input" }
        val scores = golden.recorded(File(path).name)[index]
        return if (takesPixels) scores else FloatArray(scores.size) { ln(max(scores[it], Float.MIN_VALUE)) }
    }
}

fun bytes(values: FloatArray): ByteArray {
    val buffer = ByteBuffer.allocate(values.size * 4).order(ByteOrder.nativeOrder())
    buffer.asFloatBuffer().put(values)
    return buffer.array()
}

/** Runs the methods marked as tests of the classes that are named, and writes the labels that a classifier has. */
fun main(classes: Array<String>) {
    for (name in classes) {
        val type = Class.forName(name)
        for (method in type.methods.filter { it.isAnnotationPresent(org.junit.Test::class.java) }) {
            method.invoke(type.getDeclaredConstructor().newInstance())
            println("passed: $name.${method.name}")
        }
    }
    val file = Recorded.asset("mvit2").list()!!.first { it.startsWith("model") }
    val classifier = Mvit2Classifier.open(AssetManager(), file, { _, _, _ -> Idle })
    val all = classifier.best(FloatArray(classifier.labels.size), Int.MAX_VALUE)
    File("labels.seen").writeText(all.joinToString("\n") { it.label })
}

private object Idle : OpenModel {
    override fun run(pixels: ByteArray) = FloatArray(0)

    override fun run(values: FloatArray) = FloatArray(0)

    override fun close() = Unit
}
