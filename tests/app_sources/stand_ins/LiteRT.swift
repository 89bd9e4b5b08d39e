// google-ai-edge/LiteRT 2.3.0, product LiteRT: what the sources use, as its README and sources declare it. No model
// runs: the test says what comes of an input.
import Foundation

nonisolated(unsafe) public var answer: (_ file: String, _ input: [UInt8]) -> [UInt8] = { _, _ in [] }

public enum Accelerator: Int32 {
    case none = 0
    case cpu, gpu
    case npu = 4
}

public final class Environment {
    public enum Option {
        case minLoggerSeverity(Int64)
    }

    public init(options: [Option] = []) throws {}
}

public protocol ConcreteOptions: AnyObject {}

public final class CpuOptions: ConcreteOptions {
    public init() throws {}
    public func setNumThreads(_ numThreads: Int) throws { precondition(numThreads > 0) }
}

public final class Options {
    public init() throws {}
    public func setHardwareAccelerators(_ wanted: Set<Accelerator>) throws { precondition(wanted == [.cpu]) }
    public func addConcreteOptions(_ options: ConcreteOptions) throws {}
}

public final class TensorBuffer {
    fileprivate var held: [UInt8] = []

    public func write<T>(_ data: [T]) throws { held = data.withUnsafeBytes { [UInt8]($0) } }
    public func write(_ data: Data) throws { held = [UInt8](data) }
    public func read() throws -> Data { Data(held) }
    public func read<T>() throws -> [T] { held.withUnsafeBytes { Array($0.bindMemory(to: T.self)) } }
}

public final class CompiledModel {
    private let file: String

    public init(filePath: String, environment: Environment, options: Options? = nil) throws {
        _ = try Data(contentsOf: URL(fileURLWithPath: filePath), options: .alwaysMapped)
        file = filePath
    }

    public func createInputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] { [TensorBuffer()] }
    public func createOutputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] { [TensorBuffer()] }

    public func run(
        inputs: [TensorBuffer], outputs: [TensorBuffer], options: Options? = nil, signatureIndex: Int = 0
    ) throws {
        try outputs[0].write(answer(file, inputs[0].held))
    }
}
