"""A model file proven on something else than this CPU: on compilers and simulators of accelerators."""
