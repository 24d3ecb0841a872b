// What the kernels are written in, said in the Metal Shading Language.
#include <metal_stdlib>

using namespace metal;

typedef ushort u16;
typedef uint u32;
typedef ulong u64;

#define KERNEL(name) [[kernel, max_total_threads_per_threadgroup(BLOCK)]] void name
#define INPUT(type) device const type*
#define OUTPUT(type) device type*
#define VALUE(type) constant type&
#define GRID                                                                                                           \
    , uint3 grid_position [[threadgroup_position_in_grid]], uint3 grid_size [[threadgroups_per_grid]],                 \
        uint block_lane [[thread_index_in_threadgroup]]
#define BLOCK_X grid_position.x
#define BLOCK_Y grid_position.y
#define BLOCKS_X grid_size.x
#define BLOCKS_Y grid_size.y
#define LANE block_lane
#define SHARED threadgroup
#define SHARED_POINTER(type) threadgroup type*
#define BARRIER() metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup)
#define FUNCTION static inline

// The fast versions, which are the default, are wrong far from zero.
FUNCTION float from_bits(u32 bits) { return as_type<float>(bits); }
FUNCTION u32 to_bits(float value) { return as_type<uint>(value); }
FUNCTION float root(float value) { return metal::precise::sqrt(value); }
FUNCTION float exponential(float value) { return metal::precise::exp(value); }
FUNCTION float logarithm(float value) { return metal::precise::log(value); }
FUNCTION float hyperbolic_tangent(float value) { return metal::precise::tanh(value); }
FUNCTION float larger(float a, float b) { return metal::max(a, b); }
