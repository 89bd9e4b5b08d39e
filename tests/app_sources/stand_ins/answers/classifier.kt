package stand_ins

import android.content.res.AssetManager
import mvit2.Engine
import mvit2.Mvit2Classifier
import mvit2.Mvit2Model

/** Opens a model file; every class has its label. */
fun use(file: String, engine: Engine): Mvit2Model {
    val classifier = Mvit2Classifier.open(AssetManager(), file, engine)
    val all = classifier.best(FloatArray(classifier.labels.size), Int.MAX_VALUE)
    check(all.map { it.label } == classifier.labels && all.indices.all { all[it].index == it })
    return classifier
}
