/** Android's pictures -> [Picture], colours -> a bitmap. Needs Android (API 21). SPDX-License-Identifier: MIT */
package mvit2

import android.graphics.Bitmap
import android.graphics.ImageFormat
import android.media.Image

/**
 * The pixels of a bitmap, upright; bitmaps of other configurations, HARDWARE among them, are copied on the way.
 *
 * A decoder does not turn the picture: take the orientation from androidx.exifinterface,
 * `ExifInterface(stream).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)`. Alpha is dropped, as in Python; decode
 * pictures that have some with `inPremultiplied = false`, else the colours of nearly transparent pixels are coarse.
 * Bitmaps of wide gamut come as sRGB, while Python leaves their numbers alone: decode with
 * `inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)` where they must not depend on the device.
 *
 * @throws IllegalArgumentException a bitmap that cannot be read, or no orientation.
 */
fun Bitmap.toPicture(orientation: Int = 1): Picture {
    if (isRecycled) throw refusal("bitmap", "recycled", "a bitmap that still has its pixels")
    val readable = if (config == Bitmap.Config.ARGB_8888) this else copy(Bitmap.Config.ARGB_8888, false)
    if (readable == null) throw refusal("bitmap.config", config, "one that Bitmap.copy can make ARGB_8888 of")
    val colours = IntArray(width * height)
    readable.getPixels(colours, 0, width, 0, 0, width, height)
    if (readable !== this) readable.recycle()
    return pictureOf(colours, width, height).upright(orientation)
}

/**
 * A camera frame, upright, in full-range BT.601 as Android's cameras give it. The caller closes it.
 *
 * Of CameraX's ImageProxy hand over `proxy.image`, or its planes to [pictureOf]; the degrees are those of
 * `proxy.imageInfo.rotationDegrees`. The crop rectangle of the frame is not applied.
 *
 * @throws IllegalArgumentException another format than YUV_420_888, or no multiple of 90 degrees.
 */
fun Image.toPicture(rotationDegrees: Int = 0): Picture {
    if (format != ImageFormat.YUV_420_888) throw refusal("image.format", format, "YUV_420_888 (35)")
    val frame = pictureOf(planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }, width, height)
    return frame.upright(orientationOf(rotationDegrees))
}

/** Packed colours 0xAARRGGBB, `[height][width]`, such as the layer of a mask, to be drawn over the picture. */
fun bitmapOf(colours: IntArray, width: Int, height: Int): Bitmap =
    Bitmap.createBitmap(colours, width, height, Bitmap.Config.ARGB_8888)
