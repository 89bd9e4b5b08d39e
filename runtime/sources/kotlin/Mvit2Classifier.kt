/**
 * A model of a bundle in an Android app: a picture in, labels with scores out, on LiteRT or ONNX Runtime.
 *
 *     val classifier = Mvit2Classifier.open(context.assets, "model_int8.tflite", liteRt(threads = 2))
 *     for ((label, _, score) in classifier.classify(bitmap.toPicture(), 5)) Log.i("mvit2", "$label $score")
 *
 * Opening takes long enough to do it once, on a thread of its own. SPDX-License-Identifier: MIT
 */
package mvit2

import android.content.res.AssetManager
import org.json.JSONArray
import org.json.JSONObject

private const val SCHEMA_VERSION = 3 // of manifest.json

/** One line of an answer, with its name. */
data class LabelledPrediction(val label: String, val index: Int, val score: Float)

/** What manifest.json says of a model file; [shape] is that of its input, an open dimension is 1. */
class ModelFacts(val file: String, val input: String, val output: String, val shape: LongArray)

/** What opens model files: `liteRt()` of Mvit2ClassifierLiteRt.kt, `onnxRuntime()` of Mvit2ClassifierOnnx.kt. */
fun interface Engine {
    fun open(assets: AssetManager, path: String, facts: ModelFacts): OpenModel
}

/** An open model file. One call at a time: its buffers are used again. */
interface OpenModel : AutoCloseable {
    /** Bundles of `--io image`: uint8 RGB `[height][width][3]` -> probabilities. */
    fun run(pixels: ByteArray): FloatArray

    /** Bundles of `--io tensor`: float `[3][height][width]` -> logits. */
    fun run(values: FloatArray): FloatArray
}

/** @property labels class names by index. */
class Mvit2Classifier(
    val spec: PreprocessSpec,
    val labels: List<String>,
    private val takesPixels: Boolean,
    private val model: OpenModel,
) : AutoCloseable {
    /** An upright picture -> the model's input, uint8 RGB `[height][width][3]`. */
    fun pixels(picture: Picture): ByteArray = preprocess(picture, spec)

    /**
     * Pixels as [pixels] makes them -> probabilities by class.
     *
     * @throws IllegalArgumentException another number of pixels.
     */
    @Synchronized
    fun scores(pixels: ByteArray): FloatArray {
        val size = spec.imageSize.height * spec.imageSize.width * 3
        if (pixels.size != size) throw refusal("pixels.size", pixels.size, "$size")
        val scores = if (takesPixels) model.run(pixels) else softmax(model.run(pixelValues(pixels, spec)))
        check(scores.size == labels.size) { "the model gave ${scores.size} scores for ${labels.size} labels" }
        return scores
    }

    /** The best k classes, best first. */
    fun best(scores: FloatArray, k: Int = 5): List<LabelledPrediction> =
        topK(scores, k).map { LabelledPrediction(labels[it.index], it.index, it.score) }

    /** All of it. */
    fun classify(picture: Picture, k: Int = 5): List<LabelledPrediction> = best(scores(pixels(picture)), k)

    override fun close() = model.close()

    companion object {
        /**
         * @param folder of the assets, with manifest.json, labels.txt and the model files.
         * @param file such as "model_int8.tflite".
         * @throws IllegalArgumentException a manifest of another schema or task, or without that file; labels that do
         * not fit.
         * @throws java.io.IOException a file is missing.
         */
        fun open(assets: AssetManager, file: String, engine: Engine, folder: String = "mvit2"): Mvit2Classifier {
            val manifest = JSONObject(text(assets, "$folder/manifest.json"))
            val (schema, task) = manifest.optInt("schema_version") to manifest.optString("task")
            if (schema != SCHEMA_VERSION || task != "image-classification") {
                throw refusal("manifest.json", "$task, schema_version $schema", "image-classification, $SCHEMA_VERSION")
            }
            val labels = text(assets, "$folder/labels.txt").removeSuffix("\n").split("\n")
            val classes = manifest.getInt("classes")
            if (labels.size != classes) throw refusal("labels.txt", "${labels.size} lines", "$classes, by the manifest")
            val model = engine.open(assets, "$folder/$file", facts(manifest.getJSONArray("artifacts"), file))
            val spec = preprocessSpec(manifest.getJSONObject("preprocess"))
            return Mvit2Classifier(spec, labels, manifest.getString("io") == "image", model)
        }
    }
}

private fun text(assets: AssetManager, path: String) = assets.open(path).use { String(it.readBytes(), Charsets.UTF_8) }

private fun facts(artifacts: JSONArray, file: String): ModelFacts {
    val all = (0 until artifacts.length()).map { artifacts.getJSONObject(it) }
    val files = all.map { it.getJSONObject("file").getString("path") }
    if (file !in files) throw refusal("file", file, files.joinToString())
    val artifact = all[files.indexOf(file)]
    val input = artifact.getJSONObject("input")
    val shape = input.getJSONArray("shape")
    return ModelFacts(
        file,
        input.getString("name"),
        artifact.getJSONObject("output").getString("name"),
        LongArray(shape.length()) { if (shape.isNull(it)) 1 else shape.getLong(it) },
    )
}
