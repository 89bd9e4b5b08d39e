// driver CASES RESULTS: runs every case of a file through the Swift sources; see cases.py.
import Foundation

private struct Case {
    let header: [Int]
    let scale: Double
    let payload: [UInt8]

    var width: Int { header[1] }
    var height: Int { header[2] }

    func floats() -> [Float] {
        payload.withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
        }
    }

    func picture() throws -> Mvit2.Picture {
        try Mvit2.Picture(payload, width: width, height: height, channels: header[3])
    }

    /// As an app has it, from JSON; only NaN cannot come that way.
    func spec() throws -> Mvit2.PreprocessSpec {
        var fields: [String: Any?] = [
            "image_size": [header[4], header[5]],
            "resize_shortest": header[6] == 0 ? nil : header[6],
            "resize_exact": header[7] == 0 && header[8] == 0 ? nil : [header[7], header[8]],
            "resample": 0...1 ~= header[9] ? ["bilinear", "bicubic"][header[9]] : "number \(header[9])",
            "channel_order": 0...1 ~= header[10] ? ["RGB", "BGR"][header[10]] : "number \(header[10])",
            "scale": 1.0,
        ]
        if header[0] == 1 && header[3] == 9 {
            (fields["mean"], fields["std"]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        }
        let json = try JSONSerialization.data(withJSONObject: fields.mapValues { $0 ?? NSNull() })
        let spec = try decoded(json)
        return try Mvit2.PreprocessSpec(
            imageSize: spec.imageSize, resizeShortest: spec.resizeShortest, resizeExact: spec.resizeExact,
            resample: spec.resample, channelOrder: spec.channelOrder, scale: scale,
            mean: spec.mean, std: spec.std)
    }

    /// Put on the picture; the words of the spec are the network's height and width (mask_cases.py).
    func mask() throws -> Mvit2.Mask {
        let exact = header[7] == 0 ? nil : Mvit2.ImageSize(height: header[7], width: header[8])
        let spec = try Mvit2.PreprocessSpec(
            imageSize: .init(height: header[4], width: header[5]), resizeShortest: header[6] == 0 ? nil : header[6],
            resizeExact: exact)
        let picture = Mvit2.ImageSize(height: height, width: width)
        if header[0] == 11 {
            let cells = Mvit2.ImageSize(height: header[9], width: header[10])
            return try Mvit2.logitsOnPicture(floats(), cells: cells, classes: header[3], picture: picture, spec)
        }
        return try Mvit2.maskOnPicture(payload, classes: header[3], picture: picture, spec)
    }

    /// The best classes first, then what is drawn; class 1 is red, 2 green, 3 blue and 4 white.
    func layer() throws -> [UInt8] {
        let areas = try mask().areas()
        let layer = try mask().layer([0, 0xFF0000, 0xFF00_FF00, 0xFF, 0xFFFFFF], opacity: scale)
        var answer = bytes([Int32(areas.count)])
        for area in areas { answer += bytes([Int32(area.index)]) + bytes([area.share]) }
        return answer + layer
    }

    /// The task in front of the manifest, and what an app reads of it.
    func manifest() throws -> [UInt8] {
        let parts = payload.split(separator: 10, maxSplits: 1)
        let found = try JSONDecoder().decode(Mvit2Manifest.self, from: Data(parts[1]))
        try found.check(task: String(decoding: parts[0], as: UTF8.self))
        let model = try found.artifact("model.onnx")
        let shape = model.output.shape.map { "\($0 ?? 1)" }.joined(separator: ", ")
        let colors = try found.packedColors().map { String($0 | 0xFF00_0000, radix: 16) }.joined(separator: ", ")
        let facts = "\(model.input.dtype) \(model.output.name) \(shape)"
        return Array("\(found.outputKind) \(found.classes) [\(colors)] \(facts)".utf8)
    }

    func yuv() throws -> Mvit2.Picture {
        try payload.withUnsafeBytes { bytes in
            let planes = [(0, header[4], 1), (header[7], header[5], header[6]), (header[8], header[5], header[6])].map {
                Mvit2.Plane(UnsafeRawBufferPointer(rebasing: bytes[$0.0...]), rowStride: $0.1, pixelStride: $0.2)
            }
            return try Mvit2.Picture(yuv: planes, width: width, height: height)
        }
    }

    func bgra() throws -> Mvit2.Picture {
        try payload.withUnsafeBytes { bytes in
            let plane = Mvit2.Plane(bytes, rowStride: header[4], pixelStride: 4)
            return try Mvit2.Picture(bgra: plane, width: width, height: height)
        }
    }
}

private func decoded(_ json: Data) throws -> Mvit2.PreprocessSpec {
    try JSONDecoder().decode(Mvit2.PreprocessSpec.self, from: json)
}

private func bytes<Number>(_ numbers: [Number]) -> [UInt8] {
    numbers.withUnsafeBytes { Array($0) }
}

private func encoded(_ spec: Mvit2.PreprocessSpec) -> [UInt8] {
    let exact = spec.resizeExact ?? Mvit2.ImageSize(height: 0, width: 0)
    let words = [spec.resample == .bilinear ? 0 : 1, spec.channelOrder == .rgb ? 0 : 1]
    let sizes = [spec.imageSize.height, spec.imageSize.width, spec.resizeShortest ?? 0, exact.height, exact.width]
    return bytes((sizes + words).map(Int32.init)) + bytes([spec.scale])
}

private func encoded(_ picture: Mvit2.Picture) -> [UInt8] {
    bytes([picture.width, picture.height, picture.channels].map(Int32.init)) + picture.pixels
}

private func encoded(_ mask: Mvit2.Mask) -> [UInt8] {
    bytes([mask.box.left, mask.box.top, mask.box.right, mask.box.bottom].map(Int32.init)) + mask.pixels
}

private func run(_ call: Case) throws -> [UInt8] {
    switch call.header[0] {
    case 0: return try Mvit2.preprocess(call.picture(), call.spec())
    case 1: return try bytes(Mvit2.pixelValues(call.payload, call.spec()))
    case 2: return try bytes(Mvit2.softmax(call.floats()))
    case 3: return try bytes(Mvit2.topK(call.floats(), call.width).map { Int32($0.index) })
    case 6: return try encoded(call.picture().upright(call.header[6]))
    case 7: return try bytes([Int32(Mvit2.orientation(ofDegrees: call.width))])
    case 8: return try encoded(call.bgra())
    case 9: return try encoded(call.yuv())
    case 10: return try encoded(decoded(Data(call.payload)))
    case 11, 12: return try encoded(call.mask())
    case 13: return try call.layer()
    case 14: return try call.manifest()
    default: fatalError("no such call")
    }
}

@main
private struct Driver {
    static func main() throws {
        let cases = try Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1]))
        var results = Data()
        var at = 0
        cases.withUnsafeBytes { memory in
            while at < memory.count {
                let header = (0..<12).map { Int(memory.loadUnaligned(fromByteOffset: at + $0 * 4, as: Int32.self)) }
                let scale = memory.loadUnaligned(fromByteOffset: at + 48, as: Double.self)
                let call = Case(header: header, scale: scale, payload: Array(memory[(at + 56)..<(at + 56 + header[11])]))
                let answer = Result { try run(call) }
                let found = (try? answer.get()) ?? []
                var message: [UInt8] = []
                if case .failure(let error) = answer { message = Array("\(error)".utf8) }
                results.append(contentsOf: bytes([Int32(message.isEmpty ? 0 : 1), Int32((message + found).count)]))
                results.append(contentsOf: message + found)
                at += 56 + header[11]
            }
        }
        try results.write(to: URL(fileURLWithPath: CommandLine.arguments[2]))
    }
}
