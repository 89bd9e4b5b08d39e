// java -cp driver.jar DriverKt CASES RESULTS: runs every case of a file through the Kotlin sources; see cases.py.
import mvit2.ImageSize
import mvit2.Mask
import mvit2.Picture
import mvit2.Plane
import mvit2.PreprocessSpec
import mvit2.logitsOnPicture
import mvit2.manifestOf
import mvit2.maskOnPicture
import mvit2.orientationOf
import mvit2.pictureOf
import mvit2.pixelValues
import mvit2.preprocess
import mvit2.preprocessSpec
import mvit2.softmax
import mvit2.topK
import org.json.JSONArray
import org.json.JSONObject
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private class Case(val header: IntArray, private val scale: Double, val payload: ByteArray) {
    val width = header[1]
    val height = header[2]

    fun memory(from: Int = 0): ByteBuffer =
        ByteBuffer.wrap(payload, from, payload.size - from).slice().order(ByteOrder.LITTLE_ENDIAN)

    fun floats() = FloatArray(payload.size / 4).also { memory().asFloatBuffer().get(it) }
    fun ints() = IntArray(payload.size / 4).also { memory().asIntBuffer().get(it) }
    fun picture() = Picture(payload, width, height, header[3])

    /** The picture that a mask is put on; the words of the spec are the network's height and width (mask_cases.py). */
    fun mask(): Mask {
        val spec = PreprocessSpec(
            ImageSize(header[4], header[5]),
            if (header[6] == 0) null else header[6],
            if (header[7] == 0) null else ImageSize(header[7], header[8]),
        )
        val (picture, cells) = ImageSize(height, width) to ImageSize(header[9], header[10])
        if (header[0] == 11) return logitsOnPicture(floats(), cells, header[3], picture, spec)
        return maskOnPicture(payload, header[3], picture, spec)
    }

    /** The best classes first, then what is drawn; class 1 is red, 2 green, 3 blue and 4 white. */
    fun layer(): ByteArray {
        val areas = mask().areas().map { encoded(it.index, it.share) }
        val layer = mask().layer(intArrayOf(0, 0xFF0000, 0xFF00FF00.toInt(), 0xFF, 0xFFFFFF), scale)
        return areas.fold(encoded(areas.size)) { all, area -> all + area } + encoded(*layer.toTypedArray())
    }

    /** The task in front of the manifest, and what an app reads of it. */
    fun manifest(): ByteArray {
        val (task, json) = String(payload).split("\n", limit = 2)
        val found = manifestOf(JSONObject(json), task)
        val model = found.model("model.onnx")
        val shape = model.output.shape.joinToString()
        val colors = found.colors.joinToString { Integer.toHexString(it) }
        val (input, output) = model.input to model.output
        return "${found.outputKind} ${found.classes} [$colors] ${input.dtype} ${output.name} $shape".toByteArray()
    }

    /** As an app has it, from JSON; only NaN cannot come that way. */
    fun spec(): PreprocessSpec {
        val fields = JSONObject()
            .put("image_size", JSONArray(listOf(header[4], header[5])))
            .put("resize_shortest", if (header[6] == 0) JSONObject.NULL else header[6])
            .put("resample", listOf("bilinear", "bicubic").getOrElse(header[9]) { "number $it" })
            .put("channel_order", listOf("RGB", "BGR").getOrElse(header[10]) { "number $it" })
            .put("scale", 1.0)
        if (header[7] != 0 || header[8] != 0) fields.put("resize_exact", JSONArray(listOf(header[7], header[8])))
        if (header[0] == 1 && header[3] == 9) {
            fields.put("mean", JSONArray(listOf(0.485, 0.456, 0.406))).put("std", JSONArray(listOf(0.229, 0.224, 0.225)))
        }
        return preprocessSpec(fields).copy(scale = scale)
    }

    fun planes() = listOf(
        Plane(memory(), header[4], 1),
        Plane(memory(header[7]), header[5], header[6]),
        Plane(memory(header[8]), header[5], header[6]),
    )
}

private fun encoded(vararg values: Number): ByteArray {
    val memory = ByteBuffer.allocate(values.size * 8).order(ByteOrder.LITTLE_ENDIAN)
    for (value in values) {
        when (value) {
            is Double -> memory.putDouble(value)
            is Float -> memory.putFloat(value)
            else -> memory.putInt(value.toInt())
        }
    }
    return memory.array().copyOf(memory.position())
}

private fun encoded(spec: PreprocessSpec): ByteArray {
    val exact = spec.resizeExact ?: ImageSize(0, 0)
    val (tall, wide) = spec.imageSize
    val words = arrayOf(spec.resample.ordinal, spec.channelOrder.ordinal)
    return encoded(tall, wide, spec.resizeShortest ?: 0, exact.height, exact.width, *words, spec.scale)
}

private fun encoded(picture: Picture) = encoded(picture.width, picture.height, picture.channels) + picture.pixels

private fun encoded(mask: Mask): ByteArray {
    val (left, top, right, bottom) = mask.box
    return encoded(left, top, right, bottom) + mask.pixels
}

private fun run(case: Case): ByteArray = when (case.header[0]) {
    0 -> preprocess(case.picture(), case.spec())
    1 -> encoded(*pixelValues(case.payload, case.spec()).toTypedArray())
    2 -> encoded(*softmax(case.floats()).toTypedArray())
    3 -> encoded(*topK(case.floats(), case.width).map { it.index }.toTypedArray())
    6 -> encoded(case.picture().upright(case.header[6]))
    7 -> encoded(orientationOf(case.width))
    8 -> encoded(pictureOf(case.ints(), case.width, case.height))
    9 -> encoded(pictureOf(case.planes(), case.width, case.height))
    10 -> encoded(preprocessSpec(JSONObject(String(case.payload))))
    11, 12 -> encoded(case.mask())
    13 -> case.layer()
    14 -> case.manifest()
    else -> throw IllegalStateException("no such call")
}

fun main(arguments: Array<String>) {
    val cases = ByteBuffer.wrap(File(arguments[0]).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    File(arguments[1]).outputStream().buffered().use { results ->
        while (cases.hasRemaining()) {
            val header = IntArray(12) { cases.getInt() }
            val case = Case(header, cases.getDouble(), ByteArray(header[11]).also { cases.get(it, 0, header[11]) })
            val answer = runCatching { run(case) }
            answer.exceptionOrNull()?.let { if (it !is IllegalArgumentException) throw it }
            val bytes = answer.getOrElse { it.message!!.toByteArray() }
            results.write(encoded(if (answer.isFailure) 1 else 0, bytes.size) + bytes)
        }
    }
}
