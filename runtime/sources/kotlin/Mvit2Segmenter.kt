/**
 * A model of a bundle in an Android app: a picture in, the class of every pixel out, on LiteRT or ONNX Runtime.
 *
 *     val segmenter = Mvit2Segmenter.open(context.assets, "model_int8.tflite", liteRt(threads = 2))
 *     val found = segmenter.segment(bitmap.toPicture())
 *     for ((label, _, share) in found.classes) Log.i("mvit2", "$label $share")
 *     overlay.setImageBitmap(bitmapOf(found.layer(), found.mask.width, found.mask.height))
 *
 * Opening takes long enough to do it once, on a thread of its own. SPDX-License-Identifier: MIT
 */
package mvit2

import android.content.res.AssetManager

/** A class that is in a picture, with its name. */
data class LabelledArea(val label: String, val index: Int, val share: Double)

/**
 * What is where in a picture.
 *
 * @property mask the class of every pixel of the upright picture, and what was seen of it.
 * @property classes those present, the largest first.
 * @property colors 0xFFRRGGBB for each class of the network.
 */
class Segmentation(val mask: Mask, val classes: List<LabelledArea>, val colors: IntArray) {
    /** See [Mask.layer]. */
    fun layer(opacity: Double = 0.5): IntArray = mask.layer(colors, opacity)
}

class Mvit2Segmenter private constructor(bundle: OpenBundle) : Mvit2Model(bundle) {
    override fun finished(output: Tensor): Tensor = output

    /**
     * What the model said of a picture ([answer]), put on the picture, whose upright size this is.
     *
     * @throws IllegalArgumentException an answer of another size, or that no network gives.
     */
    fun onPicture(answer: Tensor, picture: ImageSize): Segmentation {
        val (spec, classes) = manifest.preprocess to manifest.classes
        val mask = when (manifest.outputKind) {
            "scores" -> logitsOnPicture(floats(answer), cells(), classes, picture, spec)
            "mask" -> maskOnPicture(bytes(answer), classes, picture, spec)
            else -> throw refusal("output_kind", manifest.outputKind, "scores, mask")
        }
        val areas = mask.areas().map { LabelledArea(labels[it.index], it.index, it.share) }
        return Segmentation(mask, areas, manifest.colors)
    }

    /** All of it. */
    fun segment(picture: Picture): Segmentation =
        onPicture(answer(pixels(picture)), ImageSize(picture.height, picture.width))

    /** The size of the network's own map, of an output `[1, height, width, classes]`. */
    private fun cells(): ImageSize {
        val shape = facts.output.shape
        if (shape.size != 4 || shape.any { it !in 1..MAX_EDGE }) {
            throw refusal("output.shape", shape.contentToString(), "[1, height, width, classes]")
        }
        return ImageSize(shape[1].toInt(), shape[2].toInt())
    }

    companion object {
        /**
         * @param file such as "model_int8.tflite", in a folder of the assets with manifest.json and labels.txt.
         * @throws IllegalArgumentException a manifest of another schema or task, or without that file; labels or
         * colours that do not fit.
         * @throws java.io.IOException a file is missing.
         */
        fun open(assets: AssetManager, file: String, engine: Engine, folder: String = "mvit2"): Mvit2Segmenter =
            Mvit2Segmenter(openBundle(assets, folder, file, engine, "semantic-segmentation"))
    }
}
