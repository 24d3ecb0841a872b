// What the kernels are written in, said in CUDA C++. NVRTC finds no headers: nothing is included.
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define KERNEL(name) extern "C" __global__ void __launch_bounds__(BLOCK) name
#define INPUT(type) const type* __restrict__
#define OUTPUT(type) type* __restrict__
#define VALUE(type) const type
#define GRID
#define BLOCK_X blockIdx.x
#define BLOCK_Y blockIdx.y
#define BLOCKS_X gridDim.x
#define BLOCKS_Y gridDim.y
#define LANE threadIdx.x
#define SHARED __shared__
#define SHARED_POINTER(type) type*
#define BARRIER() __syncthreads()
#define FUNCTION __device__ __forceinline__

FUNCTION float from_bits(u32 bits) { return __uint_as_float(bits); }
FUNCTION u32 to_bits(float value) { return __float_as_uint(value); }
FUNCTION float root(float value) { return sqrtf(value); }
FUNCTION float exponential(float value) { return expf(value); }
FUNCTION float logarithm(float value) { return logf(value); }
FUNCTION float hyperbolic_tangent(float value) { return tanhf(value); }
FUNCTION float larger(float a, float b) { return fmaxf(a, b); }
