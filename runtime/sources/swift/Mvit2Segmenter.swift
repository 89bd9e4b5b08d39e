// A model of a bundle in an Apple app: a picture in, the class of every pixel out, on LiteRT or ONNX Runtime.
//
//     let segmenter = try Mvit2Segmenter(folder: folder, file: "model_int8.tflite", engine: .liteRt(threads: 2))
//     let found = try segmenter.segment(Mvit2.Picture(cgImage))
//     for area in found.classes { print(area.label, area.share) }
//     let overlay = try Mvit2.image(rgba: found.layer(), width: found.mask.width, height: found.mask.height)
//
// Opening takes long enough to do it once, away from the main thread. SPDX-License-Identifier: MIT
import Foundation

public final class Mvit2Segmenter: Mvit2Model {
    /// A class that is in a picture, with its name.
    public struct Area: Equatable {
        public let label: String
        public let index: Int
        public let share: Double
    }

    /// What is where in a picture.
    public struct Segmentation {
        /// The class of every pixel of the upright picture, and what was seen of it.
        public let mask: Mvit2.Mask
        /// Those present, the largest first.
        public let classes: [Area]
        /// 0xRRGGBB for each class of the network.
        public let colors: [UInt32]

        /// See `Mvit2.Mask.layer`.
        public func layer(opacity: Double = 0.5) throws -> [UInt8] {
            try mask.layer(colors, opacity: opacity)
        }
    }

    /// - Parameters:
    ///   - folder: with manifest.json, labels.txt and the model files.
    ///   - file: such as "model_int8.tflite".
    /// - Throws: `Mvit2.Refusal`: a manifest of another schema or task, or without that file; labels or colours that do
    ///   not fit. What Foundation says of a missing file, and the engine of the model.
    public init(folder: URL, file: String, engine: Mvit2Engine) throws {
        try super.init(folder: folder, file: file, engine: engine, task: "semantic-segmentation")
    }

    /// What the model said of a picture (`answer`), put on the picture, whose upright size this is.
    ///
    /// - Throws: `Mvit2.Refusal`: an answer of another size, or that no network gives.
    public func onPicture(_ answer: Mvit2Tensor, _ picture: Mvit2.ImageSize) throws -> Segmentation {
        let mask: Mvit2.Mask
        let (spec, classes) = (manifest.preprocess, manifest.classes)
        switch manifest.outputKind {
        case .scores:
            let logits = try answer.floats()
            mask = try Mvit2.logitsOnPicture(logits, cells: cells(), classes: classes, picture: picture, spec)
        case .mask:
            mask = try Mvit2.maskOnPicture(answer.bytes(), classes: classes, picture: picture, spec)
        }
        let areas = mask.areas().map { Area(label: labels[$0.index], index: $0.index, share: $0.share) }
        return try Segmentation(mask: mask, classes: areas, colors: manifest.packedColors())
    }

    /// All of it.
    public func segment(_ picture: Mvit2.Picture) throws -> Segmentation {
        try onPicture(answer(pixels(picture)), Mvit2.ImageSize(height: picture.height, width: picture.width))
    }

    /// The size of the network's own map, of an output `[1, height, width, classes]`.
    private func cells() throws -> Mvit2.ImageSize {
        let shape = artifact.output.shape.map { $0 ?? 1 }
        guard shape.count == 4, shape.allSatisfy({ 1...Mvit2.maxEdge ~= $0 }) else {
            throw Mvit2.refusal("output.shape", shape, "[1, height, width, classes]")
        }
        return Mvit2.ImageSize(height: shape[1], width: shape[2])
    }
}
