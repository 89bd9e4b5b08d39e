/** com.microsoft.onnxruntime:onnxruntime-android, package ai.onnxruntime. In Java there, so nothing is null-checked. */
package ai.onnxruntime

import mvit2.Bytes
import mvit2.Floats
import mvit2.Tensor
import stand_ins.Recorded
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

enum class OnnxJavaType { FLOAT, INT8, UINT8 }

interface OnnxValue : AutoCloseable

class OnnxTensor private constructor(internal val input: () -> ByteArray, private val given: Tensor?) : OnnxValue {
    val floatBuffer: FloatBuffer get() = FloatBuffer.wrap((given as Floats).values)
    val byteBuffer: ByteBuffer get() = ByteBuffer.wrap((given as Bytes).values)

    override fun close() = Unit

    companion object {
        internal fun of(given: Tensor) = OnnxTensor({ ByteArray(0) }, given)

        /** Over the memory of a direct buffer, as it is when the session runs. */
        fun createTensor(env: OrtEnvironment, data: ByteBuffer, shape: LongArray, type: OnnxJavaType): OnnxTensor {
            check(env.quiet && data.isDirect && type == OnnxJavaType.UINT8 && data.remaining() == volume(shape))
            val held = data.duplicate()
            return OnnxTensor({ ByteArray(held.remaining()).also { held.duplicate().get(it) } }, null)
        }

        fun createTensor(env: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor {
            check(env.quiet && data.isDirect && data.order() == ByteOrder.nativeOrder())
            check(data.remaining() == volume(shape))
            val held = data.duplicate()
            return OnnxTensor({ stand_ins.bytes(FloatArray(held.remaining()).also { held.duplicate().get(it) }) }, null)
        }

        private fun volume(shape: LongArray) = shape.fold(1L) { product, edge -> product * edge }.toInt()
    }
}

class OrtSession internal constructor(private val path: String) : AutoCloseable {
    class SessionOptions : AutoCloseable {
        fun setIntraOpNumThreads(numThreads: Int) = check(numThreads > 0)

        override fun close() = Unit
    }

    class Result internal constructor(private val values: List<OnnxValue>) : AutoCloseable {
        operator fun get(index: Int): OnnxValue = values[index]

        override fun close() = Unit
    }

    fun run(inputs: Map<String, OnnxTensor>, requestedOutputs: Set<String>): Result {
        check(inputs.size == 1 && requestedOutputs.size == 1)
        return Result(listOf(OnnxTensor.of(Recorded.answer(path, inputs.values.single().input()))))
    }

    override fun close() = Unit
}

class OrtEnvironment private constructor() {
    internal var quiet = false

    fun setTelemetry(sendTelemetry: Boolean) {
        quiet = !sendTelemetry
    }

    /** Which of the files it is, only its bytes say. */
    fun createSession(modelBuffer: ByteBuffer, options: OrtSession.SessionOptions): OrtSession {
        check(modelBuffer.isDirect) { options }
        val model = ByteArray(modelBuffer.remaining()).also { modelBuffer.get(it) }
        val file = Recorded.asset("mvit2").listFiles()!!.first { it.readBytes().contentEquals(model) }
        return OrtSession(file.name)
    }

    companion object {
        private val only = OrtEnvironment()

        fun getEnvironment() = only
    }
}
