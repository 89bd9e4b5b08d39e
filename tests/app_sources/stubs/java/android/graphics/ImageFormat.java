package android.graphics;

/** Signatures only: https://developer.android.com/reference/android/graphics/ImageFormat. */
public class ImageFormat {
    public static final int YUV_420_888 = 35;
}
