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

/** One line of an answer, with its name. */
data class LabelledPrediction(val label: String, val index: Int, val score: Float)

class Mvit2Classifier private constructor(bundle: OpenBundle) : Mvit2Model(bundle) {
    /** Bundles of `--io image` answer with probabilities, those of `--io tensor` with logits. */
    override fun finished(output: Tensor): Tensor {
        val scores = floats(output)
        check(scores.size == labels.size) { "the model gave ${scores.size} scores for ${labels.size} labels" }
        return if (manifest.io == "image") output else Floats(softmax(scores))
    }

    /**
     * Pixels as [pixels] makes them -> probabilities by class.
     *
     * @throws IllegalArgumentException another number of pixels.
     */
    fun scores(pixels: ByteArray): FloatArray = floats(answer(pixels))

    /** The best k classes, best first. */
    fun best(scores: FloatArray, k: Int = 5): List<LabelledPrediction> =
        topK(scores, k).map { LabelledPrediction(labels[it.index], it.index, it.score) }

    /** All of it. */
    fun classify(picture: Picture, k: Int = 5): List<LabelledPrediction> = best(scores(pixels(picture)), k)

    companion object {
        /**
         * @param file such as "model_int8.tflite", in a folder of the assets with manifest.json and labels.txt.
         * @throws IllegalArgumentException a manifest of another schema or task, or without that file; labels that do
         * not fit.
         * @throws java.io.IOException a file is missing.
         */
        fun open(assets: AssetManager, file: String, engine: Engine, folder: String = "mvit2"): Mvit2Classifier =
            Mvit2Classifier(openBundle(assets, folder, file, engine, "image-classification"))
    }
}
