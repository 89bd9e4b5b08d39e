/** .tflite files on LiteRT: `com.google.ai.edge.litert:litert` 2.x, CompiledModel. SPDX-License-Identifier: MIT */
package mvit2

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** On the CPU: XNNPACK runs the whole graph. LiteRT keeps a copy of an asset in memory. */
fun liteRt(threads: Int = 2): Engine = Engine { assets, path, _ ->
    val options = CompiledModel.Options(Accelerator.CPU)
    options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
    LiteRtModel(CompiledModel.create(assets, path, options))
}

private class LiteRtModel(private val compiled: CompiledModel) : OpenModel {
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    override fun run(pixels: ByteArray): FloatArray {
        inputs[0].writeInt8(pixels) // copies bytes; that the tensor calls them uint8 changes nothing
        return run()
    }

    override fun run(values: FloatArray): FloatArray {
        inputs[0].writeFloat(values)
        return run()
    }

    private fun run(): FloatArray {
        compiled.run(inputs, outputs)
        return outputs[0].readFloat()
    }

    override fun close() {
        for (buffer in inputs + outputs) buffer.close()
        compiled.close()
    }
}
