// Apple's decoder and the engines give what was recorded when the bundle was made.
import Foundation
import ImageIO
import XCTest

@testable import Mvit2

/// golden/golden.json: pictures, the pixels that preprocessing makes of them, what each model file gave for these.
private struct Golden: Decodable {
    struct Output: Decodable {
        let floor: Double
    }

    struct Case: Decodable {
        let name: String
        let picture: String?
        let pixels: String
    }

    struct Scores: Decodable {
        let file: String
        let tolerance: Double
    }

    let output: Output
    let cases: [Case]
    let scores: [String: Scores]

    static func data(_ path: String) throws -> Data {
        try Data(contentsOf: Bundle.module.resourceURL!.appendingPathComponent(path))
    }

    /// Largest difference of log-probabilities; NaN where there is one.
    func difference(_ a: [Float], _ b: [Float]) -> Double {
        let logarithm = { (p: Float) in p.isNaN ? Double.nan : log(max(Double(p), output.floor)) }
        return zip(a, b).map { abs(logarithm($0) - logarithm($1)) }.reduce(0) { $1.isNaN ? $1 : max($0, $1) }
    }
}

final class GoldenTests: XCTestCase {
    private var golden: Golden!

    override func setUpWithError() throws {
        golden = try JSONDecoder().decode(Golden.self, from: Golden.data("golden/golden.json"))
    }

    private func eachModel(_ test: (String, Mvit2Classifier) throws -> Void) throws {
        for (file, engine) in Mvit2Classifier.engines() {
            try test(file, Mvit2Classifier(folder: Mvit2Classifier.folder, file: file, engine: engine))
        }
    }

    func testDecodedPicturesBecomeTheGoldenPixels() throws {
        try eachModel { _, classifier in
            for one in golden.cases {
                guard let picture = one.picture else { continue }
                let source = try XCTUnwrap(CGImageSourceCreateWithData(Golden.data(picture) as CFData, nil))
                let image = try XCTUnwrap(CGImageSourceCreateImageAtIndex(source, 0, nil))
                let pixels = try classifier.pixels(Mvit2.Picture(image))
                let expected = [UInt8](try Golden.data(one.pixels))
                XCTAssertEqual(pixels.count, expected.count)
                XCTAssertEqual(zip(pixels, expected).filter { $0 != $1 }.count, 0, one.name)
            }
        }
    }

    func testScoresAreWithinTheTolerance() throws {
        try eachModel { file, classifier in
            let recorded = try XCTUnwrap(golden.scores[file])
            let numbers = try Golden.data(recorded.file).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
            let classes = classifier.labels.count
            XCTAssertEqual(numbers.count, golden.cases.count * classes)
            for (index, one) in golden.cases.enumerated() {
                let scores = try classifier.scores([UInt8](Golden.data(one.pixels)))
                let expected = Array(numbers[index * classes..<(index + 1) * classes])
                let difference = golden.difference(scores, expected)
                XCTAssertTrue(difference <= recorded.tolerance, "\(file), \(one.name): \(difference)")  // false for NaN
            }
        }
    }
}
