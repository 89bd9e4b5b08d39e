/** com.google.ai.edge.litert:litert 2.3.0, of its Model.kt and TensorBuffer.kt. */
package com.google.ai.edge.litert

import android.content.res.AssetManager
import mvit2.Bytes
import mvit2.Floats
import mvit2.Tensor
import stand_ins.Recorded
import stand_ins.bytes

enum class Accelerator { NONE, CPU, GPU, NPU }

class Environment

class TensorBuffer internal constructor() : AutoCloseable {
    internal var held = ByteArray(0)
    internal var given: Tensor = Bytes(held)

    fun writeInt8(data: ByteArray) {
        held = data.copyOf()
    }

    fun writeFloat(data: FloatArray) {
        held = bytes(data)
    }

    fun readFloat(): FloatArray = (given as Floats).values

    fun readInt8(): ByteArray = (given as Bytes).values

    override fun close() = Unit
}

class CompiledModel private constructor(private val path: String) : AutoCloseable {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null
    }

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = List(1 + signatureIndex) { TensorBuffer() }

    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = createInputBuffers(signatureIndex)

    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) {
        outputs[signatureIndex].given = Recorded.answer(path, inputs[signatureIndex].held)
    }

    override fun close() = Unit

    companion object {
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel {
            check(optionalEnv == null && options.accelerators == setOf(Accelerator.CPU))
            return assetManager.open(assetName).use { CompiledModel(assetName) }
        }
    }
}
