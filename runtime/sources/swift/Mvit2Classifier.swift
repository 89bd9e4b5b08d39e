// A model of a bundle in an Apple app: a picture in, labels with scores out, on LiteRT or ONNX Runtime.
//
//     let classifier = try Mvit2Classifier(folder: folder, file: "model_int8.tflite", engine: .liteRt(threads: 2))
//     for best in try classifier.classify(Mvit2.Picture(cgImage), 5) { print(best.label, best.score) }
//
// Opening takes long enough to do it once, away from the main thread. SPDX-License-Identifier: MIT
import Foundation

/// What opens model files: `.liteRt()` of Mvit2ClassifierLiteRt.swift, `.onnxRuntime()` of Mvit2ClassifierOnnx.swift.
public struct Mvit2Engine {
    let open: (URL, Mvit2Manifest.Artifact) throws -> Mvit2OpenModel
}

/// An open model file. One call at a time: its buffers are used again.
protocol Mvit2OpenModel: AnyObject {
    /// Bundles of `--io image`: uint8 RGB `[height][width][3]` -> probabilities.
    func run(_ pixels: [UInt8]) throws -> [Float]

    /// Bundles of `--io tensor`: float `[3][height][width]` -> logits.
    func run(_ values: [Float]) throws -> [Float]
}

/// What a classifier needs of manifest.json.
public struct Mvit2Manifest: Decodable {
    struct File: Decodable {
        let path: String
    }

    struct Tensor: Decodable {
        let name: String
        let shape: [Int?]  // nil: an open dimension
    }

    struct Artifact: Decodable {
        let file: File
        let input: Tensor
        let output: Tensor
    }

    static let schemaVersion = 3

    let schema_version: Int
    let task: String
    let io: String
    let classes: Int
    public let preprocess: Mvit2.PreprocessSpec
    let artifacts: [Artifact]
}

public final class Mvit2Classifier {
    /// One line of an answer, with its name.
    public struct Prediction: Equatable {
        public let label: String
        public let index: Int
        public let score: Float
    }

    public let manifest: Mvit2Manifest
    /// Class names by index.
    public let labels: [String]
    private let model: Mvit2OpenModel
    private let lock = NSLock()

    /// - Parameters:
    ///   - folder: with manifest.json, labels.txt and the model files.
    ///   - file: such as "model_int8.tflite".
    /// - Throws: `Mvit2.Refusal`: a manifest of another schema or task, or without that file; labels that do not fit.
    ///   What Foundation says of a missing file, and the engine of the model.
    public init(folder: URL, file: String, engine: Mvit2Engine) throws {
        let json = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
        manifest = try JSONDecoder().decode(Mvit2Manifest.self, from: json)
        guard manifest.schema_version == Mvit2Manifest.schemaVersion, manifest.task == "image-classification" else {
            let found = "\(manifest.task), schema_version \(manifest.schema_version)"
            throw Mvit2.refusal("manifest.json", found, "image-classification, \(Mvit2Manifest.schemaVersion)")
        }
        let names = try String(contentsOf: folder.appendingPathComponent("labels.txt"), encoding: .utf8)
        labels = names.split(separator: "\n", omittingEmptySubsequences: false).dropLast(names.hasSuffix("\n") ? 1 : 0)
            .map(String.init)
        guard labels.count == manifest.classes else {
            throw Mvit2.refusal("labels.txt", "\(labels.count) lines", "\(manifest.classes), by the manifest")
        }
        guard let artifact = manifest.artifacts.first(where: { $0.file.path == file }) else {
            throw Mvit2.refusal("file", file, manifest.artifacts.map(\.file.path).joined(separator: ", "))
        }
        model = try engine.open(folder.appendingPathComponent(file), artifact)
    }

    /// An upright picture -> the model's input, uint8 RGB `[height][width][3]`.
    public func pixels(_ picture: Mvit2.Picture) throws -> [UInt8] {
        try Mvit2.preprocess(picture, manifest.preprocess)
    }

    /// Pixels as `pixels` makes them -> probabilities by class.
    ///
    /// - Throws: `Mvit2.Refusal`: another number of pixels; what the engine says.
    public func scores(_ pixels: [UInt8]) throws -> [Float] {
        let size = manifest.preprocess.imageSize.height * manifest.preprocess.imageSize.width * 3
        guard pixels.count == size else { throw Mvit2.refusal("pixels.count", pixels.count, "\(size)") }
        lock.lock()
        defer { lock.unlock() }
        let scores = manifest.io == "image"
            ? try model.run(pixels) : try Mvit2.softmax(model.run(Mvit2.pixelValues(pixels, manifest.preprocess)))
        guard scores.count == labels.count else {
            throw Mvit2.refusal("the model's output", "\(scores.count) scores", "\(labels.count)")
        }
        return scores
    }

    /// The best k classes, best first.
    public func best(_ scores: [Float], _ k: Int = 5) throws -> [Prediction] {
        try Mvit2.topK(scores, k).map { Prediction(label: labels[$0.index], index: $0.index, score: $0.score) }
    }

    /// All of it.
    public func classify(_ picture: Mvit2.Picture, _ k: Int = 5) throws -> [Prediction] {
        try best(scores(pixels(picture)), k)
    }
}
