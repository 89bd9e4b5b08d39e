// Apple's pictures -> Mvit2.Picture, RGBA -> an image. Needs Apple's frameworks. SPDX-License-Identifier: MIT
#if canImport(CoreGraphics)
import CoreGraphics

extension Mvit2.Picture {
    /// The pixels of an image, upright.
    ///
    /// A CGImage is not turned: take the orientation from `kCGImagePropertyOrientation` of its source, or, for a
    /// `UIImage`, from its `imageOrientation` (whose raw values are others). An RGB image keeps its numbers whatever
    /// its profile, as in Python; others become sRGB. Transparent pixels are laid over black; Python drops alpha.
    ///
    /// - Throws: `Mvit2.Refusal`: no orientation, or an image that cannot be drawn.
    public init(_ image: CGImage, orientation: Int = 1) throws {
        let (width, height) = (image.width, image.height)
        let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
        var pixels = [UInt8](repeating: 0, count: width * height * 4)
        let drawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
            let contexts = [own, CGColorSpace(name: CGColorSpace.sRGB)].lazy.compactMap { $0 }.compactMap { space in
                CGContext(
                    data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: width * 4, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            }
            guard let context = contexts.first else { return false }
            context.interpolationQuality = .none
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard drawn else { throw Mvit2.refusal("image", "\(width)x\(height)", "one that a CGContext can draw") }
        self = try Mvit2.Picture(pixels, width: width, height: height, channels: 4).upright(orientation)
    }
}

extension Mvit2 {
    /// RGBA, `[height][width][4]`, such as the layer of a mask, to be drawn over the picture.
    ///
    /// - Throws: `Mvit2.Refusal`: another number of bytes.
    public static func image(rgba: [UInt8], width: Int, height: Int) throws -> CGImage {
        guard rgba.count == width * height * 4, let data = CFDataCreate(nil, rgba, rgba.count),
            let provider = CGDataProvider(data: data), let space = CGColorSpace(name: CGColorSpace.sRGB),
            let image = CGImage(
                width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: width * 4,
                space: space, bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: provider,
                decode: nil, shouldInterpolate: false, intent: .defaultIntent)
        else { throw refusal("rgba.count", rgba.count, "\(width) x \(height) x 4") }
        return image
    }
}
#endif

#if canImport(CoreVideo)
import CoreVideo

extension Mvit2.Picture {
    /// A camera frame, upright: 32BGRA, or 420f, which is taken as full-range BT.601.
    ///
    /// Ask the capture output for 32BGRA where the frames may be in another matrix (HDR video is).
    ///
    /// - Parameter degrees: clockwise, until the frame stands upright; 90 for a phone held upright.
    /// - Throws: `Mvit2.Refusal`: another format, or no multiple of 90 degrees.
    public init(_ buffer: CVPixelBuffer, degrees: Int = 0) throws {
        let format = CVPixelBufferGetPixelFormatType(buffer)
        guard CVPixelBufferLockBaseAddress(buffer, .readOnly) == kCVReturnSuccess else {
            throw Mvit2.refusal("buffer", "locked by others", "a buffer that can be read")
        }
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        let (width, height) = (CVPixelBufferGetWidth(buffer), CVPixelBufferGetHeight(buffer))
        let frame: Mvit2.Picture
        switch format {
        case kCVPixelFormatType_32BGRA:
            frame = try Mvit2.Picture(bgra: packed(buffer), width: width, height: height)
        case kCVPixelFormatType_420YpCbCr8BiPlanarFullRange:
            let planes = try [plane(buffer, 0, 1, 0), plane(buffer, 1, 2, 0), plane(buffer, 1, 2, 1)]
            frame = try Mvit2.Picture(yuv: planes, width: width, height: height)
        default:
            throw Mvit2.refusal("pixel format", format, "32BGRA (\(kCVPixelFormatType_32BGRA)), 420f (full range)")
        }
        self = try frame.upright(Mvit2.orientation(ofDegrees: degrees))
    }
}

private func packed(_ buffer: CVPixelBuffer) throws -> Mvit2.Plane {
    guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw unreadable }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    let bytes = UnsafeRawBufferPointer(start: base, count: stride * CVPixelBufferGetHeight(buffer))
    return Mvit2.Plane(bytes, rowStride: stride, pixelStride: 4)
}

/// Plane number index, whose values lie step apart and begin at offset.
private func plane(_ buffer: CVPixelBuffer, _ index: Int, _ step: Int, _ offset: Int) throws -> Mvit2.Plane {
    guard let base = CVPixelBufferGetBaseAddressOfPlane(buffer, index) else { throw unreadable }
    let stride = CVPixelBufferGetBytesPerRowOfPlane(buffer, index)
    let count = stride * CVPixelBufferGetHeightOfPlane(buffer, index) - offset
    return Mvit2.Plane(UnsafeRawBufferPointer(start: base + offset, count: count), rowStride: stride, pixelStride: step)
}

private let unreadable = Mvit2.refusal("buffer", "without memory", "a buffer of the camera or of a decoder")
#endif
