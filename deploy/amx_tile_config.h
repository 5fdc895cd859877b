// Included ahead of every source file while llama-cpp-python is built by GCC.
//
// GCC before 13.3 tells its optimizer that LDTILECFG reads 8 bytes of the configuration, not 64
// (GCC bug 114098). The stores to the rest are then dropped, the instruction faults on what the
// stack held, and llama.cpp crashes at its first matrix product on every CPU with AMX.
#pragma once

#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])(config)))
#endif
