// Storage of either precision, and sums over a block. All arithmetic is in single precision.

#ifdef BF16
typedef u16 real;

FUNCTION float load(INPUT(real) values, u64 index) { return from_bits((u32)values[index] << 16); }

FUNCTION void store(OUTPUT(real) values, u64 index, float value) {
    u32 bits = to_bits(value);
    // To the nearest, ties to even; not a number stays one.
    bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    u32 rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    values[index] = (u16)(is_nan ? (bits >> 16) | 0x40u : rounded >> 16);
}
#else
typedef float real;

FUNCTION float load(INPUT(real) values, u64 index) { return values[index]; }

FUNCTION void store(OUTPUT(real) values, u64 index, float value) { values[index] = value; }
#endif

// The sum over a block, known to every lane. One order of additions, whatever the hardware.
FUNCTION float block_sum(float value, SHARED_POINTER(float) scratch, u32 lane) {
    scratch[lane] = value;
    BARRIER();
    for (u32 width = BLOCK / 2; width > 0; width /= 2) {
        if (lane < width) {
            scratch[lane] += scratch[lane + width];
        }
        BARRIER();
    }
    float total = scratch[0];
    BARRIER();
    return total;
}

// The largest value of a block, known to every lane.
FUNCTION float block_max(float value, SHARED_POINTER(float) scratch, u32 lane) {
    scratch[lane] = value;
    BARRIER();
    for (u32 width = BLOCK / 2; width > 0; width /= 2) {
        if (lane < width) {
            scratch[lane] = larger(scratch[lane], scratch[lane + width]);
        }
        BARRIER();
    }
    float highest = scratch[0];
    BARRIER();
    return highest;
}
