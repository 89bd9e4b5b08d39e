// .tflite files on LiteRT 2.x, its Swift package's product LiteRT. SPDX-License-Identifier: MIT
#if canImport(LiteRT)
import Foundation
import LiteRT

extension Mvit2Engine {
    /// On the CPU: XNNPACK runs the whole graph. The file is mapped.
    public static func liteRt(threads: Int = 2) -> Mvit2Engine {
        Mvit2Engine { file, artifact in try LiteRtModel(file, artifact, threads) }
    }
}

private final class LiteRtModel: Mvit2OpenModel {
    private let artifact: Mvit2Manifest.Artifact
    private let compiled: CompiledModel
    private let inputs, outputs: [TensorBuffer]

    init(_ file: URL, _ artifact: Mvit2Manifest.Artifact, _ threads: Int) throws {
        self.artifact = artifact
        let cpu = try CpuOptions()
        try cpu.setNumThreads(threads)
        let options = try Options()
        try options.setHardwareAccelerators([.cpu])
        try options.addConcreteOptions(cpu)
        compiled = try CompiledModel(filePath: file.path, environment: Environment(), options: options)
        inputs = try compiled.createInputBuffers()
        outputs = try compiled.createOutputBuffers()
    }

    func run(_ input: Mvit2Tensor) throws -> Mvit2Tensor {
        switch input {
        case .bytes(let values): try inputs[0].write(values)
        case .floats(let values): try inputs[0].write(values)
        }
        try compiled.run(inputs: inputs, outputs: outputs)
        return try artifact.output.dtype == "uint8" ? .bytes(outputs[0].read()) : .floats(outputs[0].read())
    }
}
#endif
