/** On the JVM of the desk, without Android: the pixels of the golden pictures. */
package mvit2

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File

class PreprocessingTest {
    private val golden = Golden { File("src/androidTest/assets", it).readBytes() }
    private val manifest = JSONObject(File("src/main/assets/mvit2/manifest.json").readText())
    private val spec = preprocessSpec(manifest.getJSONObject("preprocess"))

    @Test
    fun goldenPicturesBecomeTheGoldenPixels() {
        val pictures = golden.cases.filter { it.picture != null }
        assertTrue("no golden pictures", pictures.isNotEmpty())
        for (case in pictures) {
            val picture = png(File("src/androidTest/assets", case.picture!!).readBytes())
            assertEquals(case.name, 0, differing(preprocess(picture, spec), case.pixels))
        }
    }

    @Test
    fun recordedAnswersBelongToTheLabels() {
        val labels = File("src/main/assets/mvit2/labels.txt").readText().removeSuffix("\n").split("\n")
        val artifacts = manifest.getJSONArray("artifacts")
        for (i in 0 until artifacts.length()) {
            val file = artifacts.getJSONObject(i).getJSONObject("file").getString("path")
            for (answer in golden.recorded(file)) {
                when (answer) {
                    is Floats -> assertEquals(file, labels.size, golden.shape.last())
                    is Bytes -> assertTrue(file, answer.values.all { (it.toInt() and 0xFF) < labels.size })
                }
            }
        }
    }
}
