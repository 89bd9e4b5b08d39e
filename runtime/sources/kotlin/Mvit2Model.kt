/**
 * A model of a bundle in an Android app, on LiteRT or ONNX Runtime: all that Mvit2Classifier and Mvit2Segmenter do but
 * their last step. SPDX-License-Identifier: MIT
 */
package mvit2

import android.content.res.AssetManager
import org.json.JSONObject

/** What goes into a model, and what comes out. */
sealed interface Tensor

/** uint8: pixels, RGB `[height][width][3]`, or a mask. */
class Bytes(val values: ByteArray) : Tensor

/** float32: the values of `--io tensor`, `[3][height][width]`, or scores. */
class Floats(val values: FloatArray) : Tensor

/** What opens model files: `liteRt()` of Mvit2LiteRt.kt, `onnxRuntime()` of Mvit2Onnx.kt. */
fun interface Engine {
    fun open(assets: AssetManager, path: String, facts: ModelFacts): OpenModel
}

/** An open model file. One call at a time: its buffers are used again. */
interface OpenModel : AutoCloseable {
    /** The output is of the type that the manifest says. */
    fun run(input: Tensor): Tensor
}

/** A bundle among the assets, and one of its model files, open. */
internal class OpenBundle(
    val manifest: Manifest,
    val labels: List<String>,
    val facts: ModelFacts,
    val model: OpenModel,
)

/**
 * @param folder of the assets, with manifest.json, labels.txt and the model files.
 * @throws IllegalArgumentException a manifest of another schema or task, or without that file; labels that do not fit.
 * @throws java.io.IOException a file is missing.
 */
internal fun openBundle(assets: AssetManager, folder: String, file: String, engine: Engine, task: String): OpenBundle {
    val manifest = manifestOf(JSONObject(text(assets, "$folder/manifest.json")), task)
    val labels = text(assets, "$folder/labels.txt").removeSuffix("\n").split("\n")
    if (labels.size != manifest.classes) {
        throw refusal("labels.txt", "${labels.size} lines", "${manifest.classes}, by the manifest")
    }
    val facts = manifest.model(file)
    return OpenBundle(manifest, labels, facts, engine.open(assets, "$folder/$file", facts))
}

private fun text(assets: AssetManager, path: String) = assets.open(path).use { String(it.readBytes(), Charsets.UTF_8) }

/** See Mvit2Classifier, Mvit2Segmenter. */
abstract class Mvit2Model internal constructor(private val bundle: OpenBundle) : AutoCloseable {
    val manifest: Manifest get() = bundle.manifest

    /** Class names by index. */
    val labels: List<String> get() = bundle.labels

    /** What the manifest says of the model file. */
    val facts: ModelFacts get() = bundle.facts

    /** An upright picture -> the model's input, uint8 RGB `[height][width][3]`. */
    fun pixels(picture: Picture): ByteArray = preprocess(picture, manifest.preprocess)

    /**
     * Pixels as [pixels] makes them -> what the model says of them, as the golden vectors hold it.
     *
     * @throws IllegalArgumentException another number of pixels.
     */
    @Synchronized
    fun answer(pixels: ByteArray): Tensor {
        val spec = manifest.preprocess
        val size = spec.imageSize.height * spec.imageSize.width * 3
        if (pixels.size != size) throw refusal("pixels.size", pixels.size, "$size")
        val takesPixels = manifest.io == "image"
        return finished(bundle.model.run(if (takesPixels) Bytes(pixels) else Floats(pixelValues(pixels, spec))))
    }

    /** The model's output -> the answer. */
    protected abstract fun finished(output: Tensor): Tensor

    override fun close() = bundle.model.close()
}

/** Of an output that must be float32. */
internal fun floats(output: Tensor) = (output as? Floats ?: throw refusal("output", "uint8", "float32")).values

/** Of an output that must be uint8. */
internal fun bytes(output: Tensor) = (output as? Bytes ?: throw refusal("output", "float32", "uint8")).values
