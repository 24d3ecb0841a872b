// The words of CUDA C++ that the kernels use, for a C++ compiler of the host.
#pragma once

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static thread_local
#define blockIdx shim::block
#define gridDim shim::blocks
#define threadIdx shim::lane

static inline void __syncthreads() { shim::barrier(); }
static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
