// Pillow's antialiased resize, only where the crop shows it. See Mvit2.swift. SPDX-License-Identifier: MIT

/// Weights are whole numbers of 2^-22: 32 bits less 8 of the pixel, and 2 because bicubic weights overshoot 0..1.
private let precision: Int32 = 22

// ---- weights ----

extension Mvit2.Resample {
    /// Beyond this distance the kernel is 0.
    fileprivate var support: Double { self == .bilinear ? 1 : 2 }

    fileprivate func kernel(_ distance: Double) -> Double {
        self == .bilinear ? triangle(distance) : cubic(distance)
    }
}

private func triangle(_ distance: Double) -> Double {
    let x = abs(distance)
    return x < 1 ? 1 - x : 0
}

/// Keys' cubic convolution with a = -0.5.
private func cubic(_ distance: Double) -> Double {
    let a = -0.5
    let x = abs(distance)
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
    return 0
}

private func fixedPoint(_ weight: Double) -> Int32 {
    Int32(weight * Double(1 << precision) + (weight < 0 ? -0.5 : 0.5))
}

extension Mvit2 {
    /// Resize an edge to out pixels and show wanted of them: the middle, rounded down, zeros around what is smaller.
    struct Axis {
        let edge, out: Int
        let count: Int  // how many resized pixels the crop shows
        let pad: Int  // zeros before them
        fileprivate let stride: Int  // weights kept for each of them
        fileprivate var first: [Int] = []  // the first input pixel that a resized pixel sees
        fileprivate var taps: [Int] = []  // how many it sees
        fileprivate var weights: [Int32]  // in units of 2^-precision

        init(_ edge: Int, to out: Int, showing wanted: Int, _ filter: Resample) {
            (self.edge, self.out) = (edge, out)
            count = min(out, wanted)
            pad = out > wanted ? 0 : (wanted - out + 1) / 2
            let begin = out > wanted ? (out - wanted) / 2 : 0  // the first resized pixel that the crop shows
            let scale = edge == out ? 1 : Double(Float(edge)) / Double(out)  // Pillow's float: coarse above 2^24
            let stretch = max(1, scale)  // a smaller picture averages over more pixels
            let support = filter.support * stretch
            let shrink = 1 / stretch
            stride = 2 * Int(support.rounded(.up)) + 1
            weights = [Int32](repeating: 0, count: count * stride)
            for i in 0..<count {
                let centre = (Double(begin + i) + 0.5) * scale
                let low = max(0, Int(centre - support + 0.5))
                let seen = min(edge, Int(centre + support + 0.5)) - low
                var total = 0.0
                for t in 0..<seen { total += filter.kernel((Double(t + low) - centre + 0.5) * shrink) }
                for t in 0..<seen {
                    let weight = filter.kernel((Double(t + low) - centre + 0.5) * shrink) / total
                    weights[i * stride + t] = fixedPoint(weight)
                }
                first.append(low)
                taps.append(seen)
            }
        }
    }
}

// ---- the two passes ----

/// Where the pixels of a pass lie, in bytes: along the axis that it resizes, and across, from line to line.
private struct Lines<Bytes> {
    let bytes: Bytes
    let along, across: Int
}

private typealias Source = Lines<UnsafePointer<UInt8>>
private typealias Target = Lines<UnsafeMutablePointer<UInt8>>

private func resample(_ from: Source, _ to: Target, _ lines: Int, _ axis: Mvit2.Axis) {
    axis.weights.withUnsafeBufferPointer { all in
        for i in 0..<axis.count {
            let weights = all.baseAddress! + i * axis.stride
            for line in 0..<lines {
                let source = from.bytes + axis.first[i] * from.along + line * from.across
                let target = to.bytes + i * to.along + line * to.across
                for c in 0..<3 { target[c] = blend(source + c, from.along, weights, axis.taps[i]) }
            }
        }
    }
}

/// The weighted mean of bytes that lie step apart, rounded, clipped to 0...255.
private func blend(_ bytes: UnsafePointer<UInt8>, _ step: Int, _ weights: UnsafePointer<Int32>, _ taps: Int) -> UInt8 {
    var sum: Int32 = 1 << (precision - 1)
    for t in 0..<taps { sum &+= Int32(bytes[t * step]) &* weights[t] }
    return UInt8(clamping: sum >> precision)
}

extension Mvit2 {
    /// Both passes, in Pillow 13's order: each pass rounds, so the order decides about bits.
    static func resize(_ picture: Picture, _ x: Axis, _ y: Axis, _ size: ImageSize) -> [UInt8] {
        let shorter = y.edge - y.out
        let verticalFirst = shorter > 0 && shorter > 2 * (x.edge - x.out)
        var (first, second) = verticalFirst ? (y, x) : (x, y)
        let begin = second.first[0]  // of the lines, the second pass needs only these
        let lines = second.first[second.count - 1] + second.taps[second.count - 1] - begin
        second.first = second.first.map { $0 - begin }

        let pixel = picture.channels
        let row = pixel * picture.width
        let outRow = 3 * size.width
        let line = 3 * first.count
        let (along, across) = verticalFirst ? (row, pixel) : (pixel, row)
        let (outAlong, outAcross) = verticalFirst ? (3, outRow) : (outRow, 3)
        var rows = [UInt8](repeating: 0, count: lines * line)
        var output = [UInt8](repeating: 0, count: size.height * outRow)
        picture.pixels.withUnsafeBufferPointer { pixels in
            rows.withUnsafeMutableBufferPointer { rows in
                let from = Source(bytes: pixels.baseAddress! + begin * across, along: along, across: across)
                resample(from, Target(bytes: rows.baseAddress!, along: 3, across: line), lines, first)
            }
        }
        rows.withUnsafeBufferPointer { rows in
            output.withUnsafeMutableBufferPointer { output in
                let start = output.baseAddress! + y.pad * outRow + x.pad * 3
                let to = Target(bytes: start, along: outAlong, across: outAcross)
                resample(Source(bytes: rows.baseAddress!, along: line, across: 3), to, first.count, second)
            }
        }
        return output
    }
}
