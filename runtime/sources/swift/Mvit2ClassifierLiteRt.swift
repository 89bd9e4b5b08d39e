// .tflite files on LiteRT 2.x, its Swift package's product LiteRT. SPDX-License-Identifier: MIT
#if canImport(LiteRT)
import Foundation
import LiteRT

extension Mvit2Engine {
    /// On the CPU: XNNPACK runs the whole graph. The file is mapped.
    public static func liteRt(threads: Int = 2) -> Mvit2Engine {
        Mvit2Engine { file, _ in try LiteRtModel(file, threads) }
    }
}

private final class LiteRtModel: Mvit2OpenModel {
    private let compiled: CompiledModel
    private let inputs, outputs: [TensorBuffer]

    init(_ file: URL, _ threads: Int) throws {
        let cpu = try CpuOptions()
        try cpu.setNumThreads(threads)
        let options = try Options()
        try options.setHardwareAccelerators([.cpu])
        try options.addConcreteOptions(cpu)
        compiled = try CompiledModel(filePath: file.path, environment: Environment(), options: options)
        inputs = try compiled.createInputBuffers()
        outputs = try compiled.createOutputBuffers()
    }

    func run(_ pixels: [UInt8]) throws -> [Float] {
        try inputs[0].write(pixels)
        return try run()
    }

    func run(_ values: [Float]) throws -> [Float] {
        try inputs[0].write(values)
        return try run()
    }

    private func run() throws -> [Float] {
        try compiled.run(inputs: inputs, outputs: outputs)
        return try outputs[0].read()
    }
}
#endif
