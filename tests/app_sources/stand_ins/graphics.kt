package android.graphics

import mvit2.Picture
import mvit2.pictureOf
import mvit2.png
import java.io.InputStream

class Bitmap internal constructor(private val picture: Picture, val config: Config?) {
    enum class Config { ARGB_8888, HARDWARE }

    companion object {
        @JvmStatic
        fun createBitmap(colors: IntArray, width: Int, height: Int, config: Config) =
            Bitmap(pictureOf(colors, width, height), config)
    }

    val width get() = picture.width
    val height get() = picture.height
    val isRecycled get() = false

    fun recycle() = Unit

    fun copy(config: Config, isMutable: Boolean): Bitmap? = if (isMutable) null else Bitmap(picture, config)

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        check(offset == 0 && x == 0 && y == 0 && stride == width && pixels.size == width * height)
        for (i in pixels.indices) {
            val (red, green, blue) = List(3) { picture.pixels[i * 3 + it].toInt() and 0xFF }
            pixels[i] = (0xFF shl 24) or (red shl 16) or (green shl 8) or blue
        }
    }
}

class Rect

object BitmapFactory {
    class Options {
        @JvmField var inScaled = true
    }

    /** As a device may: its own copy of the pixels is out of reach until it is copied. */
    @JvmStatic
    fun decodeStream(stream: InputStream, outPadding: Rect?, opts: Options): Bitmap? {
        check(outPadding == null && !opts.inScaled)
        return Bitmap(png(stream.readBytes()), Bitmap.Config.HARDWARE)
    }
}
