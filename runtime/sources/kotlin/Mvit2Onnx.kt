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
import java.nio.FloatBuffer
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

    override fun run(input: Tensor): Tensor =
        session.run(mapOf(facts.input.name to filled(input)), setOf(facts.output.name)).use { result ->
            val output = result[0] as OnnxTensor
            if (facts.output.dtype == "uint8") bytesOf(output.byteBuffer) else floatsOf(output.floatBuffer)
        }

    private fun bytesOf(mask: ByteBuffer) = Bytes(ByteArray(mask.remaining()).also { mask.get(it) })

    private fun floatsOf(scores: FloatBuffer) = Floats(FloatArray(scores.remaining()).also { scores.get(it) })

    private fun filled(input: Tensor): OnnxTensor = when (input) {
        is Bytes -> {
            val made = tensor ?: reserve(input.values.size) {
                OnnxTensor.createTensor(environment, it, facts.input.shape, OnnxJavaType.UINT8)
            }
            made.also { buffer.duplicate().put(input.values) }
        }
        is Floats -> {
            val made = tensor ?: reserve(input.values.size * 4) {
                OnnxTensor.createTensor(environment, it.asFloatBuffer(), facts.input.shape)
            }
            made.also { buffer.asFloatBuffer().put(input.values) }
        }
    }

    private fun reserve(bytes: Int, make: (ByteBuffer) -> OnnxTensor): OnnxTensor {
        buffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
        return make(buffer).also { tensor = it }
    }

    override fun close() {
        tensor?.close()
        session.close()
    }
}
