/** .onnx and .ort files on `com.microsoft.onnxruntime:onnxruntime-android`. SPDX-License-Identifier: MIT */
package mvit2

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.res.AssetManager
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/** On the CPU. The asset must lie uncompressed in the app (`noCompress`), because it is mapped. */
fun onnxRuntime(threads: Int = 2): Engine = Engine { assets, path, facts ->
    val environment = OrtEnvironment.getEnvironment()
    environment.setTelemetry(false)
    val session = OrtSession.SessionOptions().use { options ->
        options.setIntraOpNumThreads(threads)
        environment.createSession(mapped(assets, path), options)
    }
    OnnxModel(environment, session, facts)
}

private fun mapped(assets: AssetManager, path: String): ByteBuffer = assets.openFd(path).use { asset ->
    FileInputStream(asset.fileDescriptor).use { file ->
        file.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.length)
    }
}

private class OnnxModel(
    private val environment: OrtEnvironment,
    private val session: OrtSession,
    private val facts: ModelFacts,
) : OpenModel {
    private var buffer = ByteBuffer.allocateDirect(0)
    private var tensor: OnnxTensor? = null // over the buffer's memory, so that it is made once

    override fun run(pixels: ByteArray): FloatArray {
        val input = tensor ?: reserve(pixels.size) {
            OnnxTensor.createTensor(environment, it, facts.shape, OnnxJavaType.UINT8)
        }
        buffer.duplicate().put(pixels)
        return run(input)
    }

    override fun run(values: FloatArray): FloatArray {
        val input = tensor ?: reserve(values.size * 4) {
            OnnxTensor.createTensor(environment, it.asFloatBuffer(), facts.shape)
        }
        buffer.asFloatBuffer().put(values)
        return run(input)
    }

    private fun reserve(bytes: Int, make: (ByteBuffer) -> OnnxTensor): OnnxTensor {
        buffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
        return make(buffer).also { tensor = it }
    }

    private fun run(input: OnnxTensor): FloatArray =
        session.run(mapOf(facts.input to input), setOf(facts.output)).use { result ->
            val scores = (result[0] as OnnxTensor).floatBuffer
            FloatArray(scores.remaining()).also { scores.get(it) }
        }

    override fun close() {
        tensor?.close()
        session.close()
    }
}
