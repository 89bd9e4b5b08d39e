package android.graphics;

/** Signatures only, of what Mvit2Bitmap.kt calls: https://developer.android.com/reference/android/graphics/Bitmap. */
public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE, RGBA_1010102 }

    public static native Bitmap createBitmap(int[] colors, int width, int height, Config config);

    public native int getWidth();

    public native int getHeight();

    public native Config getConfig();

    public native boolean isRecycled();

    public native void recycle();

    public native Bitmap copy(Config config, boolean isMutable);

    public native void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
}
