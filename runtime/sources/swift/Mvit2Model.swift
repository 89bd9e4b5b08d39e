// A model of a bundle in an Apple app, on LiteRT or ONNX Runtime: all that Mvit2Classifier and Mvit2Segmenter do but
// their last step. SPDX-License-Identifier: MIT
import Foundation

/// What goes into a model, and what comes out.
public enum Mvit2Tensor {
    /// uint8: pixels, RGB `[height][width][3]`, or a mask.
    case bytes([UInt8])
    /// float32: the values of `--io tensor`, `[3][height][width]`, or scores.
    case floats([Float])
}

/// What opens model files: `.liteRt()` of Mvit2LiteRt.swift, `.onnxRuntime()` of Mvit2Onnx.swift.
public struct Mvit2Engine {
    let open: (URL, Mvit2Manifest.Artifact) throws -> Mvit2OpenModel
}

/// An open model file. One call at a time: its buffers are used again.
protocol Mvit2OpenModel: AnyObject {
    /// The output is of the type that the manifest says.
    func run(_ input: Mvit2Tensor) throws -> Mvit2Tensor
}

/// See Mvit2Classifier, Mvit2Segmenter.
public class Mvit2Model {
    public let manifest: Mvit2Manifest
    /// Class names by index.
    public let labels: [String]
    /// What the manifest says of the model file.
    public let artifact: Mvit2Manifest.Artifact
    private let model: Mvit2OpenModel
    private let lock = NSLock()

    init(folder: URL, file: String, engine: Mvit2Engine, task: String) throws {
        let json = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
        manifest = try JSONDecoder().decode(Mvit2Manifest.self, from: json)
        try manifest.check(task: task)
        let names = try String(contentsOf: folder.appendingPathComponent("labels.txt"), encoding: .utf8)
        labels = names.split(separator: "\n", omittingEmptySubsequences: false).dropLast(names.hasSuffix("\n") ? 1 : 0)
            .map(String.init)
        guard labels.count == manifest.classes else {
            throw Mvit2.refusal("labels.txt", "\(labels.count) lines", "\(manifest.classes), by the manifest")
        }
        artifact = try manifest.artifact(file)
        model = try engine.open(folder.appendingPathComponent(file), artifact)
    }

    /// An upright picture -> the model's input, uint8 RGB `[height][width][3]`.
    public func pixels(_ picture: Mvit2.Picture) throws -> [UInt8] {
        try Mvit2.preprocess(picture, manifest.preprocess)
    }

    /// Pixels as `pixels` makes them -> what the model says of them, as the golden vectors hold it.
    ///
    /// - Throws: `Mvit2.Refusal`: another number of pixels; what the engine says.
    public func answer(_ pixels: [UInt8]) throws -> Mvit2Tensor {
        let spec = manifest.preprocess
        let size = spec.imageSize.height * spec.imageSize.width * 3
        guard pixels.count == size else { throw Mvit2.refusal("pixels.count", pixels.count, "\(size)") }
        lock.lock()
        defer { lock.unlock() }
        let input = try manifest.io == "image" ? Mvit2Tensor.bytes(pixels) : .floats(Mvit2.pixelValues(pixels, spec))
        return try finished(model.run(input))
    }

    /// The model's output -> the answer.
    func finished(_ output: Mvit2Tensor) throws -> Mvit2Tensor {
        output
    }
}

extension Mvit2Tensor {
    /// Of an output that must be float32.
    func floats() throws -> [Float] {
        guard case .floats(let values) = self else { throw Mvit2.refusal("output", "uint8", "float32") }
        return values
    }

    /// Of an output that must be uint8.
    func bytes() throws -> [UInt8] {
        guard case .bytes(let values) = self else { throw Mvit2.refusal("output", "float32", "uint8") }
        return values
    }
}
