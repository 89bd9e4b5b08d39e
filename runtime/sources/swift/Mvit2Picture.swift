// Memory as platforms hold it -> an upright picture for Mvit2.preprocess. See Mvit2.swift. SPDX-License-Identifier: MIT

extension Mvit2 {
    /// Decoded, upright pixels, row by row without gaps.
    public struct Picture {
        /// `[height][width][channels]`
        public let pixels: [UInt8]
        public let width, height: Int
        /// 3 (RGB) or 4 (RGBA, of which alpha is ignored).
        public let channels: Int

        /// - Throws: `Refusal`.
        public init(_ pixels: [UInt8], width: Int, height: Int, channels: Int) throws {
            try checkEdges(width, height)
            guard channels == 3 || channels == 4 else { throw refusal("channels", channels, "3 (RGB), 4 (RGBA)") }
            let size = width * height * channels
            guard pixels.count == size else { throw refusal("pixels.count", pixels.count, "\(size)") }
            (self.pixels, self.width, self.height, self.channels) = (pixels, width, height, channels)
        }

        /// Turned as EXIF says: 1 is upright, and so is 0, for pictures about which nothing is said.
        ///
        /// - Parameter orientation: the raw value of a `CGImagePropertyOrientation`, not of a `UIImage.Orientation`.
        /// - Throws: `Refusal`: another number, such as degrees: see `orientation(ofDegrees:)`.
        public func upright(_ orientation: Int) throws -> Picture {
            guard 0...8 ~= orientation else { throw refusal("orientation", orientation, "1..8, as EXIF counts") }
            if orientation < 2 { return self }
            let leftwards = [2, 3, 7, 8].contains(orientation)
            let upwards = [3, 4, 6, 7].contains(orientation)
            let x = leftwards ? -channels : channels
            let y = upwards ? -channels * width : channels * width
            let start = (leftwards ? (width - 1) * channels : 0) + (upwards ? (height - 1) * width * channels : 0)
            let turned = orientation >= 5
            let (tall, wide) = turned ? (width, height) : (height, width)
            var target: [UInt8] = []
            target.reserveCapacity(pixels.count)
            for row in 0..<tall {
                for column in 0..<wide {
                    let from = start + (turned ? row * x + column * y : row * y + column * x)
                    for c in 0..<channels { target.append(pixels[from + c]) }
                }
            }
            return try Picture(target, width: wide, height: tall, channels: channels)
        }
    }

    /// The EXIF orientation of a camera frame that must be turned clockwise to stand upright.
    ///
    /// - Throws: `Refusal`: no multiple of 90 below 360.
    public static func orientation(ofDegrees degrees: Int) throws -> Int {
        guard let orientation = [0: 1, 90: 6, 180: 3, 270: 8][degrees] else {
            throw refusal("degrees", degrees, "0, 90, 180, 270")
        }
        return orientation
    }

    /// One plane of a camera frame: where its values lie, in bytes from the beginning.
    public struct Plane {
        let bytes: UnsafeRawBufferPointer
        let rowStride, pixelStride: Int

        public init(_ bytes: UnsafeRawBufferPointer, rowStride: Int, pixelStride: Int) {
            (self.bytes, self.rowStride, self.pixelStride) = (bytes, rowStride, pixelStride)
        }

        fileprivate func at(_ row: Int, _ column: Int) -> Int {
            Int(bytes[row * rowStride + column * pixelStride])
        }

        /// Each value is followed by as many as its pixel stride leaves room for.
        fileprivate func check(_ name: String, _ width: Int, _ height: Int, values: Int = 1) throws {
            guard rowStride >= 0, pixelStride >= 1, bytes.count <= Int(Int32.max),
                (height - 1) * rowStride + (width - 1) * pixelStride + values <= bytes.count
            else {
                throw refusal("plane \(name)", "\(bytes.count) bytes", "strides that fit \(width) x \(height) values")
            }
        }
    }

    static func checkEdges(_ width: Int, _ height: Int) throws {
        guard width >= 1 else { throw refusal("width", width, "1 or more") }
        guard height >= 1 else { throw refusal("height", height, "1 or more") }
        guard max(width, height) <= maxPixels && width * height <= maxPixels else {
            throw tooLarge("\(width)x\(height)")
        }
    }
}

extension Mvit2.Picture {
    /// Packed BGRA (`kCVPixelFormatType_32BGRA`) -> an RGB picture.
    ///
    /// - Throws: `Refusal`.
    public init(bgra plane: Mvit2.Plane, width: Int, height: Int) throws {
        try Mvit2.checkEdges(width, height)
        try plane.check("bgra", width, height, values: 4)
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        for row in 0..<height {
            for column in 0..<width {
                let from = row * plane.rowStride + column * plane.pixelStride
                let to = (row * width + column) * 3
                for c in 0..<3 { pixels[to + c] = plane.bytes[from + 2 - c] }
            }
        }
        try self.init(pixels, width: width, height: height, channels: 3)
    }

    /// A camera frame of format 420f, full range as in JPEG (BT.601) -> an RGB picture. Every four pixels share the
    /// nearest u and v; the numbers are those of libjpeg (jdcolor.c).
    ///
    /// - Parameter planes: y, u, v; of interleaved ones v begins one byte after u.
    /// - Throws: `Refusal`.
    public init(yuv planes: [Mvit2.Plane], width: Int, height: Int) throws {
        try Mvit2.checkEdges(width, height)
        guard planes.count == 3 else { throw Mvit2.refusal("planes.count", planes.count, "3 (y, u, v)") }
        let (y, u, v) = (planes[0], planes[1], planes[2])
        try y.check("y", width, height)
        try u.check("u", (width + 1) / 2, (height + 1) / 2)
        try v.check("v", (width + 1) / 2, (height + 1) / 2)
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        for row in 0..<height {
            for column in 0..<width {
                let light = y.at(row, column)
                let blue = u.at(row / 2, column / 2) - 128
                let red = v.at(row / 2, column / 2) - 128
                let to = (row * width + column) * 3
                pixels[to] = UInt8(clamping: light + scaled(91881 * red))  // 1.402
                pixels[to + 1] = UInt8(clamping: light + scaled(-22554 * blue - 46802 * red))  // 0.34414, 0.71414
                pixels[to + 2] = UInt8(clamping: light + scaled(116130 * blue))  // 1.772
            }
        }
        try self.init(pixels, width: width, height: height, channels: 3)
    }
}

/// Units of 2^-16, rounded.
private func scaled(_ sum: Int) -> Int {
    (sum + (1 << 15)) >> 16
}
