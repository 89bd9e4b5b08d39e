package androidx.test.platform.app

import android.content.res.AssetManager

class Context {
    val assets = AssetManager()
}

class Instrumentation {
    val context = Context()
}

object InstrumentationRegistry {
    @JvmStatic
    fun getInstrumentation() = Instrumentation()
}
