// A model's scores -> the best classes. See Mvit2.swift. SPDX-License-Identifier: MIT
#if canImport(Darwin)
import Darwin
#elseif canImport(Glibc)
import Glibc
#endif

extension Mvit2 {
    /// One line of an answer.
    public struct Prediction: Equatable {
        public let index: Int
        public let score: Float
    }

    /// Only for bundles of `--io tensor`: logits -> probabilities.
    ///
    /// - Throws: `Refusal`: no logits, or one that is not finite.
    public static func softmax(_ logits: [Float]) throws -> [Float] {
        try check(logits)
        let largest = Double(logits.max()!)
        let powers = logits.map { exp(Double($0) - largest) }
        let total = powers.reduce(0, +)
        return powers.map { Float($0 / total) }
    }

    /// The best k classes, or as many as there are, best first; of equal scores the lower index comes first.
    ///
    /// - Throws: `Refusal`: no scores, one that is not finite, or k below 1.
    public static func topK(_ scores: [Float], _ k: Int) throws -> [Prediction] {
        try check(scores)
        guard k >= 1 else { throw refusal("k", k, "1 or more") }
        let all = scores.enumerated().map { Prediction(index: $0.offset, score: $0.element) }
        return Array(all.sorted { ($0.score, $1.index) > ($1.score, $0.index) }.prefix(k))
    }

    private static func check(_ scores: [Float]) throws {
        guard !scores.isEmpty else { throw refusal("scores", scores, "1 number or more") }
        if let broken = scores.firstIndex(where: { !$0.isFinite }) {
            let accepted = "finite numbers; the model is broken: check it against its checkpoint"
            throw refusal("score of class \(broken)", scores[broken], accepted)
        }
    }
}
