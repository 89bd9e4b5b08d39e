// A segmentation network's answer -> the class of every pixel of the picture. See Mvit2.swift.
//
// Resize and crop are undone, as mvit2.runtime.Segmenter does it in Python: the mask lies on the upright picture.
//
// SPDX-License-Identifier: MIT

extension Mvit2 {
    /// In a mask, pixels that the network did not see. (One of 256 classes has a class of that index: see `Mask.box`.)
    public static let notSeen: UInt8 = 255
    /// A mask's pixel is one byte.
    public static let maxMaskClasses = 256

    /// In pixels; right and bottom are the first that do not belong to it.
    public struct Box: Equatable {
        public let left, top, right, bottom: Int
    }

    /// A class that is in a picture, and its share of all the picture's pixels.
    public struct Area: Equatable {
        public let index: Int
        public let share: Double
    }

    public struct Mask {
        /// The class of every pixel, `[height][width]`, or `notSeen`.
        public let pixels: [UInt8]
        public let width, height: Int
        /// What the network saw of the picture; empty, it may be, of a picture of two pixels.
        public let box: Box

        /// The classes that are there, the largest first.
        public func areas() -> [Area] {
            var counts = [Int](repeating: 0, count: maxMaskClasses)
            eachSeen { counts[Int(pixels[$0])] += 1 }
            let present = counts.indices.filter { counts[$0] > 0 }.sorted { (counts[$0], $1) > (counts[$1], $0) }
            return present.map { Area(index: $0, share: Double(counts[$0]) / Double(pixels.count)) }
        }

        /// The classes' colours, to be drawn over the picture: RGBA, `[height][width][4]`, alpha not multiplied in.
        /// Pixels of a black class, as the background is, and those that were not seen are transparent.
        ///
        /// - Parameter colors: 0xRRGGBB by class.
        /// - Throws: `Refusal`: opacity not in 0...1.
        public func layer(_ colors: [UInt32], opacity: Double = 0.5) throws -> [UInt8] {
            guard 0...1 ~= opacity else { throw refusal("opacity", opacity, "0..1") }
            let alpha = UInt8((255 * opacity).rounded(.toNearestOrEven))
            let shown = (0..<maxMaskClasses).map { index -> [UInt8] in
                let color = index < colors.count ? colors[index] & 0xFF_FFFF : 0
                let parts = [16, 8, 0].map { UInt8(truncatingIfNeeded: color >> $0) }
                return color == 0 ? [0, 0, 0, 0] : parts + [alpha]
            }
            var layer = [UInt8](repeating: 0, count: pixels.count * 4)
            eachSeen { at in
                let color = shown[Int(pixels[at])]
                for c in 0..<4 { layer[at * 4 + c] = color[c] }
            }
            return layer
        }

        private func eachSeen(_ use: (Int) -> Void) {
            for row in box.top..<box.bottom {
                for at in row * width + box.left..<row * width + box.right { use(at) }
            }
        }
    }

    /// Logits, `[cells.height][cells.width][classes]` over the network's input -> the winning class of every pixel,
    /// interpolated bilinearly; of equal ones the lower index wins. Besides the mask this takes memory for one row.
    ///
    /// - Parameter picture: the upright picture's size, before `preprocess`.
    /// - Throws: `Refusal`.
    public static func logitsOnPicture(
        _ logits: [Float], cells: ImageSize, classes: Int, picture: ImageSize, _ spec: PreprocessSpec
    ) throws -> Mask {
        try checkClasses(classes)
        try checkCount("logits", logits.count, cells, classes)
        if let index = logits.firstIndex(where: { !$0.isFinite }) {
            throw refusal("logit \(index)", logits[index], "finite numbers; \(broken)")
        }
        let (rows, columns) = try ways(picture, spec)
        let (y, x) = (rows.mixtures(of: cells.height), columns.mixtures(of: cells.width))
        var line = [Float](repeating: 0, count: cells.width * classes)
        return masked(rows, columns) { pixels, row in
            let mixture = y[row - rows.seen.lowerBound]
            let (upper, lower) = (mixture.low * line.count, mixture.high * line.count)
            logits.withUnsafeBufferPointer { logits in
                for at in line.indices {
                    line[at] = mixture.ofLow * logits[upper + at] + mixture.ofHigh * logits[lower + at]
                }
            }
            line.withUnsafeBufferPointer { line in
                let best = (0..<cells.width).map { cell in winner(classes) { line[cell * classes + $0] } }
                for (column, x) in x.enumerated() {
                    let (low, high) = (x.low * classes, x.high * classes)
                    pixels[column] = best[x.low] == best[x.high]
                        ? best[x.low]  // which wins everywhere between them
                        : winner(classes) { x.ofLow * line[low + $0] + x.ofHigh * line[high + $0] }
                }
            }
        }
    }

    /// Classes by pixel of the network's input, `[height][width]`, as bundles of `--output-kind mask` give them -> the
    /// class of every pixel of the picture: that of the network's pixel in which its middle lies.
    ///
    /// - Parameter picture: the upright picture's size, before `preprocess`.
    /// - Throws: `Refusal`.
    public static func maskOnPicture(
        _ found: [UInt8], classes: Int, picture: ImageSize, _ spec: PreprocessSpec
    ) throws -> Mask {
        try checkClasses(classes)
        try checkCount("mask", found.count, spec.imageSize, 1)
        if let index = found.firstIndex(where: { Int($0) >= classes }) {
            throw refusal("class of pixel \(index)", found[index], "0..\(classes - 1); \(broken)")
        }
        let (rows, columns) = try ways(picture, spec)
        let from = columns.seen.map(columns.nearest)
        return masked(rows, columns) { pixels, row in
            let line = rows.nearest(row) * spec.imageSize.width
            for (column, place) in from.enumerated() { pixels[column] = found[line + place] }
        }
    }

    private static let broken = "the model is broken: check it against its checkpoint"

    private static func checkClasses(_ classes: Int) throws {
        guard 1...maxMaskClasses ~= classes else { throw refusal("classes", classes, "1..\(maxMaskClasses)") }
    }

    private static func checkCount(_ name: String, _ count: Int, _ size: ImageSize, _ classes: Int) throws {
        let edges = 1...Int(Int32.max)
        guard edges ~= size.height, edges ~= size.width, count / classes / size.width == size.height,
            count == size.height * size.width * classes
        else {
            throw refusal("\(name).count", count, "\(size.height) x \(size.width) x \(classes)")
        }
    }

    private static func ways(_ picture: ImageSize, _ spec: PreprocessSpec) throws -> (Way, Way) {
        try checkEdges(picture.width, picture.height)
        let size = try resized(picture, spec)
        return (
            Way(picture: picture.height, resized: size.height, network: spec.imageSize.height),
            Way(picture: picture.width, resized: size.width, network: spec.imageSize.width)
        )
    }
}

/// - Parameter fill: those pixels of a row that were seen.
private func masked(
    _ rows: Way, _ columns: Way, _ fill: (UnsafeMutablePointer<UInt8>, Int) -> Void
) -> Mvit2.Mask {
    var pixels = [UInt8](repeating: Mvit2.notSeen, count: rows.picture * columns.picture)
    pixels.withUnsafeMutableBufferPointer { pixels in
        for row in rows.seen { fill(pixels.baseAddress! + row * columns.picture + columns.seen.lowerBound, row) }
    }
    let box = Mvit2.Box(
        left: columns.seen.lowerBound, top: rows.seen.lowerBound, right: columns.seen.upperBound,
        bottom: rows.seen.upperBound)
    return Mvit2.Mask(pixels: pixels, width: columns.picture, height: rows.picture, box: box)
}

/// Which two cells of the network's answer a pixel is a mixture of, and of how much of each.
private struct Mixture {
    let low, high: Int
    let ofLow, ofHigh: Float
}

/// Of equal scores the lower index wins.
private func winner(_ classes: Int, _ score: (Int) -> Float) -> UInt8 {
    var (best, most) = (0, score(0))
    for c in 1..<classes {
        let other = score(c)
        if other > most { (best, most) = (c, other) }
    }
    return UInt8(best)
}

/// One axis of a picture, in pixels: of the picture, after the resize, of the crop that is the network's input.
private struct Way {
    let picture, resized, network: Int

    /// Of the crop on the resized picture; below 0 where zeros come first.
    var start: Int { (resized - network) >> 1 }

    /// The pixels whose middle lies in the crop.
    var seen: Range<Int> { max(0, firstAt(start))..<min(picture, firstAt(start + network)) }

    /// In which pixel of the network's input the middle of a pixel lies, exactly.
    func nearest(_ pixel: Int) -> Int {
        (2 * pixel + 1) * resized / (2 * picture) - start
    }

    /// Of the pixels that are seen, where so many cells lie over the network's input.
    func mixtures(of cells: Int) -> [Mixture] {
        seen.map { pixel in
            let onNetwork = Double((2 * pixel + 1) * resized) / Double(2 * picture) - Double(start)
            let at = onNetwork * (Double(cells) / Double(network)) - 0.5  // from the first cell's middle
            let inside = min(max(at, 0), Double(cells - 1))
            let low = Int(inside)
            let ofHigh = inside - Double(low)
            return Mixture(low: low, high: min(low + 1, cells - 1), ofLow: Float(1 - ofHigh), ofHigh: Float(ofHigh))
        }
    }

    private func firstAt(_ edge: Int) -> Int {
        let (numerator, step) = (2 * picture * edge - resized, 2 * resized)
        return numerator > 0 ? (numerator - 1) / step + 1 : numerator / step  // rounded up
    }
}
