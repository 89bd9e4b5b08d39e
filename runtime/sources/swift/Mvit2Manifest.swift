// manifest.json -> Mvit2Manifest, or its "preprocess" alone -> Mvit2.PreprocessSpec. SPDX-License-Identifier: MIT
//
//     struct Manifest: Decodable { let preprocess: Mvit2.PreprocessSpec }
//     let spec = try JSONDecoder().decode(Manifest.self, from: json).preprocess

/// What an app needs of manifest.json.
public struct Mvit2Manifest: Decodable {
    public struct File: Decodable {
        public let path: String
    }

    public struct Tensor: Decodable {
        public let name: String
        /// uint8 or float32
        public let dtype: String
        /// nil: an open dimension
        public let shape: [Int?]
    }

    public struct Artifact: Decodable {
        public let file: File
        public let input: Tensor
        /// One or more.
        public let outputs: [Tensor]
        /// What the task answers with.
        public var output: Tensor { outputs[0] }
    }

    enum OutputKind: String, Decodable {
        case scores, mask
    }

    private enum CodingKeys: String, CodingKey {
        case schemaVersion = "schema_version"
        case task, io
        case outputKind = "output_kind"
        case classes, colors, preprocess, artifacts
    }

    static let schemaVersion = 4

    let schemaVersion: Int
    let task: String
    let io: String
    let outputKind: OutputKind
    let classes: Int
    /// Of a segmentation network: "#rrggbb" for each class.
    let colors: [String]
    public let preprocess: Mvit2.PreprocessSpec
    public let artifacts: [Artifact]

    /// - Parameter wanted: "image-classification" or "semantic-segmentation".
    /// - Throws: `Mvit2.Refusal`: another schema or task; colours that do not fit.
    func check(task wanted: String) throws {
        guard schemaVersion == Self.schemaVersion, task == wanted else {
            let found = "\(task), schema_version \(schemaVersion)"
            throw Mvit2.refusal("manifest.json", found, "\(wanted), schema_version \(Self.schemaVersion)")
        }
        let expected = task == "semantic-segmentation" ? classes : 0
        guard colors.count == expected else {
            throw Mvit2.refusal("colors", "\(colors.count) of them", "\(expected), by the manifest")
        }
        _ = try packedColors()
        for artifact in artifacts where artifact.outputs.isEmpty {
            throw Mvit2.refusal("outputs of \(artifact.file.path)", "none", "one or more")
        }
    }

    /// 0xRRGGBB for each class.
    func packedColors() throws -> [UInt32] {
        try colors.enumerated().map { index, color in
            let digits = color.dropFirst()
            guard color.first == "#", color.utf8.count == 7, digits.allSatisfy("0123456789abcdef".contains),
                let packed = UInt32(digits, radix: 16)
            else { throw Mvit2.refusal("color \(index)", color, "like #80ff00") }
            return packed
        }
    }

    /// - Throws: `Mvit2.Refusal`: no such file.
    func artifact(_ file: String) throws -> Artifact {
        guard let found = artifacts.first(where: { $0.file.path == file }) else {
            throw Mvit2.refusal("file", file, artifacts.map(\.file.path).joined(separator: ", "))
        }
        return found
    }
}

extension Mvit2.PreprocessSpec: Decodable {
    private enum Key: String, CodingKey {
        case imageSize = "image_size"
        case resizeShortest = "resize_shortest"
        case resizeExact = "resize_exact"
        case resample
        case channelOrder = "channel_order"
        case scale
        case mean
        case std
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
            scale: fields.decode(Double.self, forKey: .scale),
            mean: fields.decodeIfPresent([Double].self, forKey: .mean) ?? [0, 0, 0],
            std: fields.decodeIfPresent([Double].self, forKey: .std) ?? [1, 1, 1])
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
