package android.content.res

import stand_ins.Recorded
import java.io.FileDescriptor
import java.io.FileInputStream
import java.io.InputStream

class AssetFileDescriptor internal constructor(private val file: FileInputStream) : AutoCloseable {
    val fileDescriptor: FileDescriptor get() = file.fd
    val startOffset get() = 0L
    val length get() = file.channel.size()

    override fun close() = file.close()
}

class AssetManager {
    fun open(fileName: String): InputStream = Recorded.asset(fileName).inputStream()

    fun openFd(fileName: String) = AssetFileDescriptor(Recorded.asset(fileName).inputStream())
}
