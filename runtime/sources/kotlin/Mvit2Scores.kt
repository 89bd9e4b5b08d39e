/** A model's scores -> the best classes. See Mvit2.kt. SPDX-License-Identifier: MIT */
package mvit2

import kotlin.math.exp

/** One line of an answer. */
data class Prediction(val index: Int, val score: Float)

private fun checkScores(scores: FloatArray) {
    if (scores.isEmpty()) throw refusal("scores", emptyList<Float>(), "1 number or more")
    val broken = scores.indexOfFirst { !it.isFinite() }
    if (broken >= 0) {
        val accepted = "finite numbers; the model is broken: check it against its checkpoint"
        throw refusal("score of class $broken", scores[broken], accepted)
    }
}

/**
 * Only for bundles of `--io tensor`: logits -> probabilities.
 *
 * @throws IllegalArgumentException no logits, or one that is not finite.
 */
fun softmax(logits: FloatArray): FloatArray {
    checkScores(logits)
    val largest = logits.max().toDouble()
    val powers = DoubleArray(logits.size) { exp(logits[it] - largest) }
    val total = powers.sum()
    return FloatArray(logits.size) { (powers[it] / total).toFloat() }
}

/**
 * The best k classes, best first; of equal scores the lower index comes first. At most as many as there are classes.
 *
 * @throws IllegalArgumentException no scores, one that is not finite, or k below 1.
 */
fun topK(scores: FloatArray, k: Int): List<Prediction> {
    checkScores(scores)
    if (k < 1) throw refusal("k", k, "1 or more")
    val all = scores.mapIndexed { index, score -> Prediction(index, score) }
    // Not compareTo, to which -0 is less than 0. The sort is stable: of equal scores the lower index stays first.
    return all.sortedWith { a, b -> if (a.score > b.score) -1 else if (a.score < b.score) 1 else 0 }.take(k)
}
