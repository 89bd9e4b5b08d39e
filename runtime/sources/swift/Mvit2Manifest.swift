// "preprocess" of a bundle's manifest.json -> Mvit2.PreprocessSpec. See Mvit2.swift. SPDX-License-Identifier: MIT
//
//     struct Manifest: Decodable { let preprocess: Mvit2.PreprocessSpec }
//     let spec = try JSONDecoder().decode(Manifest.self, from: json).preprocess

extension Mvit2.PreprocessSpec: Decodable {
    private enum Key: String, CodingKey {
        case imageSize = "image_size"
        case resizeShortest = "resize_shortest"
        case resizeExact = "resize_exact"
        case resample
        case channelOrder = "channel_order"
        case scale
    }

    /// - Throws: `DecodingError` for another type, `Mvit2.Refusal` for an impossible value.
    public init(from decoder: Decoder) throws {
        let fields = try decoder.container(keyedBy: Key.self)
        try self.init(
            imageSize: Mvit2.ImageSize("image_size", fields.decode([Int].self, forKey: .imageSize)),
            resizeShortest: fields.decodeIfPresent(Int.self, forKey: .resizeShortest),
            resizeExact: fields.decodeIfPresent([Int].self, forKey: .resizeExact)
                .map { try Mvit2.ImageSize("resize_exact", $0) },
            resample: named("resample", fields.decode(String.self, forKey: .resample)),
            channelOrder: named("channel_order", fields.decode(String.self, forKey: .channelOrder)),
            scale: fields.decode(Double.self, forKey: .scale))
    }
}

extension Mvit2.ImageSize {
    fileprivate init(_ name: String, _ edges: [Int]) throws {
        guard edges.count == 2 else { throw Mvit2.refusal(name, edges, "[height, width], each 1..\(Mvit2.maxEdge)") }
        self.init(height: edges[0], width: edges[1])
    }
}

private func named<Word: RawRepresentable & CaseIterable>(_ name: String, _ value: String) throws -> Word
where Word.RawValue == String {
    guard let word = Word(rawValue: value) else {
        throw Mvit2.refusal(name, value, Word.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return word
}
