/** manifest.json -> [Manifest], with the org.json that every Android has. SPDX-License-Identifier: MIT */
package mvit2

import org.json.JSONArray
import org.json.JSONObject

private const val SCHEMA_VERSION = 4
private const val SEGMENTATION = "semantic-segmentation"

private val RESAMPLES = mapOf("bilinear" to Resample.BILINEAR, "bicubic" to Resample.BICUBIC)
private val ORDERS = mapOf("RGB" to ChannelOrder.RGB, "BGR" to ChannelOrder.BGR)
private val COLOR = Regex("#[0-9a-f]{6}")

/** A model's input or output: uint8 or float32; an open dimension is 1. */
class TensorFacts(val name: String, val dtype: String, val shape: LongArray)

/** What manifest.json says of a model file; `outputs` are one or more. */
class ModelFacts(val file: String, val input: TensorFacts, val outputs: List<TensorFacts>) {
    /** What the task answers with. */
    val output get() = outputs.first()
}

/**
 * What an app needs of manifest.json.
 *
 * @property io "image": models take pixels; "tensor": [pixelValues].
 * @property outputKind of a segmentation network: "scores", or "mask".
 * @property colors of a segmentation network: 0xFFRRGGBB for each class.
 */
class Manifest(
    val io: String,
    val outputKind: String,
    val classes: Int,
    val colors: IntArray,
    val preprocess: PreprocessSpec,
    private val models: List<ModelFacts>,
) {
    /** @throws IllegalArgumentException no such file. */
    fun model(file: String) = models.firstOrNull { it.file == file }
        ?: throw refusal("file", file, models.joinToString { it.file })
}

/**
 * manifest.json of a bundle for this task: "image-classification" or "semantic-segmentation".
 *
 * @throws IllegalArgumentException another schema or task; what cannot be used, and what is accepted.
 * @throws org.json.JSONException something is missing.
 */
fun manifestOf(json: JSONObject, task: String): Manifest {
    val found = "${json.opt("task")}, schema_version ${json.opt("schema_version")}"
    val accepted = "$task, schema_version $SCHEMA_VERSION"
    if (found != accepted) throw refusal("manifest.json", found, accepted)
    val classes = json.getInt("classes")
    return Manifest(
        io = json.getString("io"),
        outputKind = json.getString("output_kind"),
        classes = classes,
        colors = colors(json.getJSONArray("colors"), if (task == SEGMENTATION) classes else 0),
        preprocess = preprocessSpec(json.getJSONObject("preprocess")),
        models = json.getJSONArray("artifacts").let { all ->
            (0 until all.length()).map { model(all.getJSONObject(it)) }
        },
    )
}

private fun model(artifact: JSONObject): ModelFacts {
    val file = artifact.getJSONObject("file").getString("path")
    val outputs = artifact.getJSONArray("outputs")
    if (outputs.length() == 0) throw refusal("outputs of $file", "none", "one or more")
    return ModelFacts(
        file,
        tensor(artifact.getJSONObject("input")),
        (0 until outputs.length()).map { tensor(outputs.getJSONObject(it)) },
    )
}

private fun tensor(facts: JSONObject): TensorFacts {
    val shape = facts.getJSONArray("shape")
    val sizes = LongArray(shape.length()) { if (shape.isNull(it)) 1 else shape.getLong(it) }
    return TensorFacts(facts.getString("name"), facts.getString("dtype"), sizes)
}

private fun colors(all: JSONArray, expected: Int): IntArray {
    if (all.length() != expected) throw refusal("colors", "${all.length()} of them", "$expected, by the manifest")
    return IntArray(expected) { index ->
        val value = all.get(index).toString()
        if (!COLOR.matches(value)) throw refusal("color $index", value, "like #80ff00")
        (0xFF shl 24) or value.drop(1).toInt(16)
    }
}

/**
 * "preprocess" of a bundle's manifest: `preprocessSpec(JSONObject(text).getJSONObject("preprocess"))`.
 *
 * @throws IllegalArgumentException what cannot be used, and what is accepted.
 */
fun preprocessSpec(preprocess: JSONObject) = PreprocessSpec(
    imageSize = size("image_size", preprocess.opt("image_size")),
    resizeShortest = orNull(preprocess.opt("resize_shortest"))?.let { whole("resize_shortest", it) },
    resizeExact = orNull(preprocess.opt("resize_exact"))?.let { size("resize_exact", it) },
    resample = named("resample", preprocess.opt("resample"), RESAMPLES),
    channelOrder = named("channel_order", preprocess.opt("channel_order"), ORDERS),
    scale = (preprocess.opt("scale") as? Number)?.toDouble()
        ?: throw refusal("scale", preprocess.opt("scale"), "a finite number above 0"),
    mean = numbers("mean", preprocess.opt("mean"), 0.0),
    std = numbers("std", preprocess.opt("std"), 1.0),
)

/** Three numbers; bundles of older schemas have none. */
private fun numbers(name: String, value: Any?, absent: Double): List<Double> {
    if (value == null) return List(3) { absent }
    val array = value as? JSONArray ?: throw refusal(name, value, "three finite numbers")
    return List(array.length()) {
        (array.opt(it) as? Number)?.toDouble() ?: throw refusal(name, value, "three finite numbers")
    }
}

private fun orNull(value: Any?) = if (value == JSONObject.NULL) null else value

private fun whole(name: String, value: Any?) = value as? Int ?: throw refusal(name, value, "null, 1..$MAX_EDGE")

private fun size(name: String, value: Any?): ImageSize {
    val edges = (value as? JSONArray)?.let { array -> (0 until array.length()).map { array.opt(it) as? Int } }
    if (edges?.size != 2 || null in edges) throw refusal(name, value, "[height, width], each 1..$MAX_EDGE")
    return ImageSize(edges[0]!!, edges[1]!!)
}

private fun <T> named(name: String, value: Any?, known: Map<String, T>) =
    known[value] ?: throw refusal(name, value, known.keys.joinToString())
