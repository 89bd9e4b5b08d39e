package org.junit

annotation class Test

object Assert {
    @JvmStatic
    fun assertEquals(message: String, expected: Int, actual: Int) =
        assertTrue("$message: $actual, not $expected", actual == expected)

    @JvmStatic
    fun assertTrue(message: String, condition: Boolean) {
        if (!condition) throw AssertionError(message)
    }
}
