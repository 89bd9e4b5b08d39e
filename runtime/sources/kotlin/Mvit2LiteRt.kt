/** .tflite files on LiteRT: `com.google.ai.edge.litert:litert` 2.x, CompiledModel. SPDX-License-Identifier: MIT */
package mvit2

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** On the CPU: XNNPACK runs the whole graph. LiteRT keeps a copy of an asset in memory. */
fun liteRt(threads: Int = 2): Engine = Engine { assets, path, facts ->
    val options = CompiledModel.Options(Accelerator.CPU)
    options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
    LiteRtModel(CompiledModel.create(assets, path, options), facts)
}

private class LiteRtModel(private val compiled: CompiledModel, private val facts: ModelFacts) : OpenModel {
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    /** Of bytes the buffers make copies; that the tensors call them uint8 changes nothing. */
    override fun run(input: Tensor): Tensor {
        when (input) {
            is Bytes -> inputs[0].writeInt8(input.values)
            is Floats -> inputs[0].writeFloat(input.values)
        }
        compiled.run(inputs, outputs)
        return if (facts.output.dtype == "uint8") Bytes(outputs[0].readInt8()) else Floats(outputs[0].readFloat())
    }

    override fun close() {
        for (buffer in inputs + outputs) buffer.close()
        compiled.close()
    }
}
