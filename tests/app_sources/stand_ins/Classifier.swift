// classifier FOLDER: each model file of an app folder answers its golden inputs, and the labels go to standard output.
// In the place of the engines stand-ins give the recorded scores for golden inputs, and nothing for any other.
import Foundation

#if canImport(LiteRT)
import LiteRT
#endif
#if canImport(OnnxRuntimeBindings)
import OnnxRuntimeBindings
#endif

private struct Golden: Decodable {
    struct Case: Decodable {
        let pixels: String
    }

    struct Scores: Decodable {
        let file: String
    }

    let cases: [Case]
    let scores: [String: Scores]
}

extension Bundle {
    /// SwiftPM makes this for a package.
    static var module: Bundle { Bundle(path: CommandLine.arguments[1] + "/Sources/Mvit2")! }
}

private func bytes(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(CommandLine.arguments[1])/Tests/Mvit2Tests/\(path)")))
}

private func inputs(_ pixels: [UInt8], _ manifest: Mvit2Manifest) throws -> [UInt8] {
    manifest.io == "image" ? pixels : try Mvit2.pixelValues(pixels, manifest.preprocess).withUnsafeBytes { [UInt8]($0) }
}

@main
struct Main {
    static func main() throws {
        let folder = URL(fileURLWithPath: "\(CommandLine.arguments[1])/Sources/Mvit2/model")
        let golden = try JSONDecoder().decode(Golden.self, from: Data(bytes("golden/golden.json")))
        for (file, engine) in Mvit2Classifier.engines() {
            let classifier = try Mvit2Classifier(folder: folder, file: file, engine: engine)
            let recorded = try bytes(golden.scores[file]!.file).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
            let classes = classifier.labels.count
            for (index, one) in golden.cases.enumerated() {
                let pixels = try bytes(one.pixels)
                let expected = Array(recorded[index * classes..<(index + 1) * classes])
                let input = try inputs(pixels, classifier.manifest)
                let logits = expected.map { log(max($0, .leastNormalMagnitude)) }
                let output = classifier.manifest.io == "image" ? expected : logits
                answer = { $0.hasSuffix(file) && $1 == input ? output : [] }
                let scores = try classifier.scores(pixels)
                precondition(zip(scores, expected).allSatisfy { abs($0 - $1) < 1e-6 }, "\(file), case \(index)")
                let best = try classifier.best(scores, 1)[0]
                precondition(best.label == classifier.labels[best.index] && best.score == scores.max())
            }
            print(classifier.labels.joined(separator: "\n"))
        }
    }
}
