// .onnx and .ort files on ONNX Runtime, product onnxruntime of its Swift package. SPDX-License-Identifier: MIT
#if canImport(OnnxRuntimeBindings)
import Foundation
import OnnxRuntimeBindings

extension Mvit2Engine {
    /// On the CPU.
    public static func onnxRuntime(threads: Int = 2) -> Mvit2Engine {
        Mvit2Engine { file, artifact in try OnnxModel(file, artifact, threads) }
    }
}

private final class OnnxModel: Mvit2OpenModel {
    private let environment: ORTEnv
    private let session: ORTSession
    private let artifact: Mvit2Manifest.Artifact

    init(_ file: URL, _ artifact: Mvit2Manifest.Artifact, _ threads: Int) throws {
        self.artifact = artifact
        environment = try ORTEnv(loggingLevel: .warning)
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(Int32(threads))
        session = try ORTSession(env: environment, modelPath: file.path, sessionOptions: options)
    }

    func run(_ input: Mvit2Tensor) throws -> Mvit2Tensor {
        let name = artifact.output.name
        let outputs = try session.run(
            withInputs: [artifact.input.name: value(input)], outputNames: [name], runOptions: nil)
        guard let output = outputs[name] else { throw Mvit2.refusal("the model's output", name, "one of that name") }
        return try (output.tensorData() as Data).withUnsafeBytes {
            artifact.output.dtype == "uint8" ? .bytes(Array($0)) : .floats(Array($0.bindMemory(to: Float.self)))
        }
    }

    private func value(_ input: Mvit2Tensor) throws -> ORTValue {
        let shape = artifact.input.shape.map { NSNumber(value: $0 ?? 1) }
        switch input {
        case .bytes(let values): return try ORTValue(tensorData: data(values), elementType: .uInt8, shape: shape)
        case .floats(let values): return try ORTValue(tensorData: data(values), elementType: .float, shape: shape)
        }
    }

    private func data<Number>(_ values: [Number]) -> NSMutableData {
        values.withUnsafeBytes { NSMutableData(bytes: $0.baseAddress!, length: $0.count) }
    }
}
#endif
