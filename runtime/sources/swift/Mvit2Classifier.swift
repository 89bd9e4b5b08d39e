// A model of a bundle in an Apple app: a picture in, labels with scores out, on LiteRT or ONNX Runtime.
//
//     let classifier = try Mvit2Classifier(folder: folder, file: "model_int8.tflite", engine: .liteRt(threads: 2))
//     for best in try classifier.classify(Mvit2.Picture(cgImage), 5) { print(best.label, best.score) }
//
// Opening takes long enough to do it once, away from the main thread. SPDX-License-Identifier: MIT
import Foundation

public final class Mvit2Classifier: Mvit2Model {
    /// One line of an answer, with its name.
    public struct Prediction: Equatable {
        public let label: String
        public let index: Int
        public let score: Float
    }

    /// - Parameters:
    ///   - folder: with manifest.json, labels.txt and the model files.
    ///   - file: such as "model_int8.tflite".
    /// - Throws: `Mvit2.Refusal`: a manifest of another schema or task, or without that file; labels that do not fit.
    ///   What Foundation says of a missing file, and the engine of the model.
    public init(folder: URL, file: String, engine: Mvit2Engine) throws {
        try super.init(folder: folder, file: file, engine: engine, task: "image-classification")
    }

    /// Bundles of `--io image` answer with probabilities, those of `--io tensor` with logits.
    override func finished(_ output: Mvit2Tensor) throws -> Mvit2Tensor {
        let scores = try output.floats()
        guard scores.count == labels.count else {
            throw Mvit2.refusal("the model's output", "\(scores.count) scores", "\(labels.count)")
        }
        return manifest.io == "image" ? output : try .floats(Mvit2.softmax(scores))
    }

    /// Pixels as `pixels` makes them -> probabilities by class.
    ///
    /// - Throws: `Mvit2.Refusal`: another number of pixels; what the engine says.
    public func scores(_ pixels: [UInt8]) throws -> [Float] {
        try answer(pixels).floats()
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
