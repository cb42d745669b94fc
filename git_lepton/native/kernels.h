/* What all kernels share: exact integer types for memory of any alignment, and one build of each for newer processors. */

#ifndef LEPTON_KERNELS_H
#define LEPTON_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "elements are little-endian in weight files; numpy does the work on other machines"
#endif

/* Changes with the functions and the meaning of any: `library.py` refuses a build of another version. */
#define LEPTON_VERSION 3

#define LEPTON_API __attribute__((visibility("default")))

/* A function with this is compiled for several generations of processors; the loader picks one (GNU indirect functions).
 * Levels, not models: "arch=haswell" would be taken on a Haswell only, not on what came after it. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define LEPTON_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LEPTON_CLONES
#endif

#define LEPTON_INLINE static inline __attribute__((always_inline))

typedef uint16_t __attribute__((aligned(1), may_alias)) u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) u64;

#endif
