// After the words of CUDA: the grid is in variables of its own.
#define ENTRY(name, count)                                                                                              \
    static void body_##name(void **values) { shim::call(name, values); }                                               \
    extern "C" int run_##name(void **values, unsigned x, unsigned y, int reverse) {                                     \
        return shim::run(body_##name, values, x, y, reverse);                                                          \
    }
