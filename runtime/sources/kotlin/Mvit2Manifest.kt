/** manifest.json -> [PreprocessSpec], with the org.json that every Android has. SPDX-License-Identifier: MIT */
package mvit2

import org.json.JSONArray
import org.json.JSONObject

private val RESAMPLES = mapOf("bilinear" to Resample.BILINEAR, "bicubic" to Resample.BICUBIC)
private val ORDERS = mapOf("RGB" to ChannelOrder.RGB, "BGR" to ChannelOrder.BGR)

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
)

private fun orNull(value: Any?) = if (value == JSONObject.NULL) null else value

private fun whole(name: String, value: Any?) = value as? Int ?: throw refusal(name, value, "null, 1..$MAX_EDGE")

private fun size(name: String, value: Any?): ImageSize {
    val edges = (value as? JSONArray)?.let { array -> (0 until array.length()).map { array.opt(it) as? Int } }
    if (edges?.size != 2 || null in edges) throw refusal(name, value, "[height, width], each 1..$MAX_EDGE")
    return ImageSize(edges[0]!!, edges[1]!!)
}

private fun <T> named(name: String, value: Any?, known: Map<String, T>) =
    known[value] ?: throw refusal(name, value, known.keys.joinToString())
