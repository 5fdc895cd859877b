"""llama.cpp's C library, where llama-cpp-python's own bindings are too slow or lack something."""
