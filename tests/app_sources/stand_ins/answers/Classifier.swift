import Foundation

typealias Opened = Mvit2Classifier

/// The best class has its label.
func use(_ classifier: Mvit2Classifier, _ one: Golden.Case) throws {
    let scores = try classifier.scores(bytes(one.pixels))
    let best = try classifier.best(scores, 1)[0]
    precondition(best.label == classifier.labels[best.index] && best.score == scores.max())
}
