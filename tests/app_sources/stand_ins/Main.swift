// main FOLDER: each model file of an app folder answers its golden inputs, and the labels go to standard output. In the
// place of the engines stand-ins give what was recorded for golden inputs, and nothing for any other.
import Foundation

#if canImport(LiteRT)
import LiteRT
#endif
#if canImport(OnnxRuntimeBindings)
import OnnxRuntimeBindings
#endif

struct Golden: Decodable {
    struct Output: Decodable {
        let dtype: String
        let shape: [Int]
        let floor: Double?
    }

    struct Case: Decodable {
        let name: String
        let picture: String?
        let pixels: String
    }

    struct Scores: Decodable {
        let file: String
    }

    let output: Output
    let cases: [Case]
    let scores: [String: Scores]
}

extension Bundle {
    /// SwiftPM makes this for a package.
    static var module: Bundle { Bundle(path: CommandLine.arguments[1] + "/Sources/Mvit2")! }
}

func bytes(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(CommandLine.arguments[1])/Tests/Mvit2Tests/\(path)")))
}

func raw<Number>(_ numbers: [Number]) -> [UInt8] {
    numbers.withUnsafeBytes { [UInt8]($0) }
}

private func floats(_ bytes: [UInt8]) -> [Float] {
    bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
}

private func inputs(_ pixels: [UInt8], _ manifest: Mvit2Manifest) throws -> [UInt8] {
    manifest.io == "image" ? pixels : try raw(Mvit2.pixelValues(pixels, manifest.preprocess))
}

@main
struct Main {
    static func main() throws {
        let folder = URL(fileURLWithPath: "\(CommandLine.arguments[1])/Sources/Mvit2/model")
        let golden = try JSONDecoder().decode(Golden.self, from: Data(bytes("golden/golden.json")))
        let size = golden.output.shape.reduce(golden.output.dtype == "uint8" ? 1 : 4, *)
        for (file, engine) in Opened.engines() {
            let model = try Opened(folder: folder, file: file, engine: engine)
            let recorded = try bytes(golden.scores[file]!.file)
            for (index, one) in golden.cases.enumerated() {
                let pixels = try bytes(one.pixels)
                let expected = Array(recorded[index * size..<(index + 1) * size])
                let input = try inputs(pixels, model.manifest)
                // Of probabilities the vectors hold those that come of a bare network's logits.
                let bare = model.manifest.io == "tensor" && golden.output.floor != nil
                let output = bare ? raw(floats(expected).map { log(max($0, .leastNormalMagnitude)) }) : expected
                answer = { $0.hasSuffix(file) && $1 == input ? output : [] }
                switch try model.answer(pixels) {
                case .bytes(let mask): precondition(mask == expected, "\(file), case \(index)")
                case .floats(let scores):
                    let pairs = zip(scores, floats(expected))
                    precondition(scores.count == size / 4, "\(file), case \(index)")
                    precondition(pairs.allSatisfy { abs($0 - $1) < 1e-6 }, "\(file), case \(index)")
                }
                answer = { _, _ in output }
                try use(model, one)
            }
            print(model.labels.joined(separator: "\n"))
        }
    }
}
