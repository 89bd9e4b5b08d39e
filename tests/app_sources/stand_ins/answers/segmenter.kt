package stand_ins

import android.content.res.AssetManager
import mvit2.Engine
import mvit2.Mvit2Model
import mvit2.Mvit2Segmenter
import mvit2.png
import java.io.File

/** Opens a model file, and writes the masks of the golden pictures and what is said of them. */
fun use(file: String, engine: Engine): Mvit2Model {
    val segmenter = Mvit2Segmenter.open(AssetManager(), file, engine)
    for (case in Recorded.golden.cases.filter { it.picture != null }) {
        val found = segmenter.segment(png(Recorded.asset(case.picture!!).readBytes()))
        File("${case.name}.mask").writeBytes(found.mask.pixels)
        File("${case.name}.classes").writeText(found.classes.joinToString("") { "${it.label}\t${it.share}\n" })
        check(found.colors.size == segmenter.labels.size && found.layer().size == found.mask.pixels.size)
    }
    return segmenter
}
