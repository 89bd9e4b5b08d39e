// What an app does around a mvit2 model: a decoded picture -> the model's pixels. Its answer: Mvit2Scores.swift
// of a classifier, Mvit2Mask.swift of a segmentation network.
//
// The pixels are those of mvit2.image.preprocess in Python, bit for bit: the antialiased resize of Pillow 13 (two
// passes in fixed point, after libImaging/Resample.c) and a centre crop. Swift fuses no additions and multiplications
// of its own accord, so doubles are exact. No dependencies and no state: every function may run on any thread.
//
//     let spec = try Mvit2.PreprocessSpec(imageSize: .init(height: 256, width: 256), resizeShortest: 288)
//     let pixels = try Mvit2.preprocess(Mvit2.Picture(cgImage), spec) // Mvit2Image.swift; then run the model
//
// Line for line the same as the C sources. SPDX-License-Identifier: MIT

/// A namespace.
public enum Mvit2 {
    /// Largest picture, before and after the resize, in pixels (134 megapixels).
    public static let maxPixels = 1 << 27
    /// Longest edge, in pixels, that a spec may ask for.
    public static let maxEdge = 8192

    /// What cannot be used, and what is accepted, in one line.
    public struct Refusal: Error, CustomStringConvertible {
        public let description: String
    }

    /// In pixels, in the order of the manifest.
    public struct ImageSize: Equatable {
        public let height, width: Int

        public init(height: Int, width: Int) {
            (self.height, self.width) = (height, width)
        }
    }

    /// Pillow's antialiased filters.
    public enum Resample: String, CaseIterable {
        case bilinear, bicubic
    }

    public enum ChannelOrder: String, CaseIterable {
        case rgb = "RGB"
        case bgr = "BGR"
    }

    /// "preprocess" of a bundle's manifest.json; `JSONDecoder` reads it. At most one resize is not nil.
    public struct PreprocessSpec: Equatable {
        /// Of the model's input.
        public let imageSize: ImageSize
        /// The shortest edge becomes this long, the aspect ratio is kept.
        public let resizeShortest: Int?
        /// To stretch to.
        public let resizeExact: ImageSize?
        public let resample: Resample
        /// Only `pixelValues` reads this and what follows: an "image" bundle has all of it in its graph.
        public let channelOrder: ChannelOrder
        public let scale: Double
        /// Of red, green and blue, as `std`: the network sees (pixel * scale - mean) / std.
        public let mean: [Double]
        public let std: [Double]

        /// - Throws: `Refusal`.
        public init(
            imageSize: ImageSize, resizeShortest: Int? = nil, resizeExact: ImageSize? = nil,
            resample: Resample = .bilinear, channelOrder: ChannelOrder = .rgb, scale: Double = 1 / 255,
            mean: [Double] = [0, 0, 0], std: [Double] = [1, 1, 1]
        ) throws {
            try check("image_size", imageSize)
            if let resizeExact { try check("resize_exact", resizeExact) }
            if let resizeShortest, !isEdge(resizeShortest) {
                throw refusal("resize_shortest", resizeShortest, "null, 1..\(maxEdge)")
            }
            if resizeShortest != nil, let resizeExact {
                throw refusal("resize_exact", resizeExact, "null beside a resize_shortest")
            }
            guard scale > 0 && scale.isFinite else { throw refusal("scale", scale, "a finite number above 0") }
            guard mean.count == 3 && mean.allSatisfy(\.isFinite) else {
                throw refusal("mean", mean, "three finite numbers")
            }
            guard std.count == 3 && std.allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw refusal("std", std, "three finite numbers above 0")
            }
            (self.mean, self.std) = (mean, std)
            (self.imageSize, self.resizeShortest, self.resizeExact) = (imageSize, resizeShortest, resizeExact)
            (self.resample, self.channelOrder, self.scale) = (resample, channelOrder, scale)
        }
    }

    // ---- the interface ----

    /// A picture -> the model's input, uint8 RGB `[height][width][3]`; zeros where the picture is smaller.
    ///
    /// - Throws: `Refusal`: the resize would be too large.
    public static func preprocess(_ picture: Picture, _ spec: PreprocessSpec) throws -> [UInt8] {
        let size = try resized(ImageSize(height: picture.height, width: picture.width), spec)
        let x = Axis(picture.width, to: size.width, showing: spec.imageSize.width, spec.resample)
        let y = Axis(picture.height, to: size.height, showing: spec.imageSize.height, spec.resample)
        return resize(picture, x, y, spec.imageSize)
    }

    /// Only for bundles of `--io tensor`: preprocessed pixels -> float `[3][height][width]`, ordered and scaled.
    ///
    /// - Throws: `Refusal`: another number of pixels than the spec makes.
    public static func pixelValues(_ pixels: [UInt8], _ spec: PreprocessSpec) throws -> [Float] {
        let plane = spec.imageSize.height * spec.imageSize.width
        guard pixels.count == plane * 3 else { throw refusal("pixels.count", pixels.count, "\(plane * 3)") }
        var values = [Float](repeating: 0, count: plane * 3)
        for c in 0..<3 {
            let from = spec.channelOrder == .bgr ? 2 - c : c
            let seen = (0..<256).map { Float((Double($0) * spec.scale - spec.mean[from]) / spec.std[from]) }
            for i in 0..<plane { values[c * plane + i] = seen[Int(pixels[i * 3 + from])] }
        }
        return values
    }

    // ---- sizes ----

    /// A picture's size after the resize.
    static func resized(_ picture: ImageSize, _ spec: PreprocessSpec) throws -> ImageSize {
        let (height, width) = (picture.height, picture.width)
        var size = spec.resizeExact ?? picture
        if let shortest = spec.resizeShortest {
            size = width <= height
                ? ImageSize(height: shortest * height / width, width: shortest)
                : ImageSize(height: shortest, width: shortest * width / height)
        }
        guard size.height * size.width <= maxPixels else {
            throw tooLarge("\(width)x\(height)", "\(size.width)x\(size.height)")
        }
        return size
    }

    // ---- refusals ----

    static func refusal(_ name: String, _ value: Any, _ accepted: String) -> Refusal {
        let shown = value is String ? "\"\(value)\"" : "\(value)"
        let line = String(shown.prefix(80).map { $0.isNewline ? " " : $0 })
        return Refusal(description: "\(name) = \(line) cannot be used; accepted: \(accepted)")
    }

    static func tooLarge(_ sizes: String...) -> Refusal {
        Refusal(
            description: "the picture is too large, or too long and thin (\(sizes.joined(separator: " -> "))); "
                + "accepted: at most \(maxPixels) pixels before and after the resize; make it smaller or crop it first")
    }
}

extension Mvit2.ImageSize: CustomStringConvertible {
    public var description: String { "\(height),\(width)" }
}

private func isEdge(_ pixels: Int) -> Bool {
    1 <= pixels && pixels <= Mvit2.maxEdge
}

private func check(_ name: String, _ size: Mvit2.ImageSize) throws {
    guard isEdge(size.height) && isEdge(size.width) else {
        throw Mvit2.refusal(name, size, "[height, width], each 1..\(Mvit2.maxEdge)")
    }
}
