# Loads and stores for compiled loops: what machine.py does, in C. Each is checked against the bytes' end.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(_MSC_VER)
    #include <stdlib.h>
    #define LS_SWAP16 _byteswap_ushort
    #define LS_SWAP32 _byteswap_ulong
    #define LS_SWAP64 _byteswap_uint64
    #define LS_PREFETCH(p) ((void)(p))
    #else
    #define LS_SWAP16 __builtin_bswap16
    #define LS_SWAP32 __builtin_bswap32
    #define LS_SWAP64 __builtin_bswap64
    #define LS_PREFETCH(p) __builtin_prefetch((p), 0, 2)
    #endif
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define LS_TURN(big) (!(big))
    #else
    #define LS_TURN(big) (big)
    #endif
    static inline long long ls_u16(const void *p, int big) {
        uint16_t v; memcpy(&v, p, 2); return LS_TURN(big) ? LS_SWAP16(v) : v;
    }
    static inline long long ls_u32(const void *p, int big) {
        uint32_t v; memcpy(&v, p, 4); return LS_TURN(big) ? LS_SWAP32(v) : v;
    }
    static inline long long ls_u64(const void *p, int big) {
        uint64_t v; memcpy(&v, p, 8); return (long long)(LS_TURN(big) ? LS_SWAP64(v) : v);
    }
    static inline void ls_put16(void *p, long long v) { uint16_t w = (uint16_t)v; memcpy(p, &w, 2); }
    static inline void ls_put32(void *p, long long v) { uint32_t w = (uint32_t)v; memcpy(p, &w, 4); }
    static inline void ls_put64(void *p, long long v) { memcpy(p, &v, 8); }
    static inline long long ls_times(long long a, long long b) {
        return (long long)((unsigned long long)a * (unsigned long long)b);
    }
    static inline long long ls_plus(long long a, long long b) {
        return (long long)((unsigned long long)a + (unsigned long long)b);
    }
    static inline long long ls_mix(long long h, long long v) {
        long long folded = ls_times(h ^ v, -7046029254386353131LL);
        return folded ^ (folded >> 29);
    }
    """
    long long ls_u16(const void *p, bint big) noexcept nogil
    long long ls_u32(const void *p, bint big) noexcept nogil
    long long ls_u64(const void *p, bint big) noexcept nogil
    void ls_put16(void *p, long long v) noexcept nogil
    void ls_put32(void *p, long long v) noexcept nogil
    void ls_put64(void *p, long long v) noexcept nogil
    void LS_PREFETCH(const void *p) noexcept nogil
    long long times "ls_times"(long long a, long long b) noexcept nogil
    long long plus "ls_plus"(long long a, long long b) noexcept nogil
    long long mix "ls_mix"(long long h, long long v) noexcept nogil

cdef inline int outside() except -1 with gil:
    raise IndexError("bytes outside their buffer")

cdef inline long long full() except? -4775807 with gil:
    raise IndexError("a table of the compiled loops is full")

cdef inline long long u8(const unsigned char[::1] data, long long at, bint big) except? -4775807 nogil:
    if at < 0 or at >= data.shape[0]:
        outside()
    return (&data[0] + at)[0]

cdef inline long long u16(const unsigned char[::1] data, long long at, bint big) except? -4775807 nogil:
    if at < 0 or at > data.shape[0] - 2:
        outside()
    return ls_u16(&data[0] + at, big)

cdef inline long long u32(const unsigned char[::1] data, long long at, bint big) except? -4775807 nogil:
    if at < 0 or at > data.shape[0] - 4:
        outside()
    return ls_u32(&data[0] + at, big)

cdef inline long long u64(const unsigned char[::1] data, long long at, bint big) except? -4775807 nogil:
    if at < 0 or at > data.shape[0] - 8:
        outside()
    return ls_u64(&data[0] + at, big)

cdef inline int put8(unsigned char[::1] data, long long at, long long value) except -1 nogil:
    if at < 0 or at >= data.shape[0]:
        outside()
    (&data[0] + at)[0] = <unsigned char>value
    return 0

cdef inline int put16(unsigned char[::1] data, long long at, long long value) except -1 nogil:
    if at < 0 or at > data.shape[0] - 2:
        outside()
    ls_put16(&data[0] + at, value)
    return 0

cdef inline int put32(unsigned char[::1] data, long long at, long long value) except -1 nogil:
    if at < 0 or at > data.shape[0] - 4:
        outside()
    ls_put32(&data[0] + at, value)
    return 0

cdef inline int put64(unsigned char[::1] data, long long at, long long value) except -1 nogil:
    if at < 0 or at > data.shape[0] - 8:
        outside()
    ls_put64(&data[0] + at, value)
    return 0

cdef inline int prefetch(const unsigned char[::1] data, long long at) except -1 nogil:
    if 0 <= at < data.shape[0]:
        LS_PREFETCH(&data[0] + at)
    return 0
