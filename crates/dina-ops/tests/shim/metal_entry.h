// After the words of Metal: memory of a block is one array for all its lanes, and the grid comes as three more arguments.
#undef SHARED
#define SHARED static thread_local
#define ENTRY(name, count)                                                                                              \
    static void body_##name(void **values) {                                                                           \
        void *all[count + 3];                                                                                          \
        for (unsigned index = 0; index < count; index++) {                                                             \
            all[index] = values[index];                                                                                \
        }                                                                                                              \
        uint3 position = {shim::block.x, shim::block.y, 0}, size = {shim::blocks.x, shim::blocks.y, 1};                \
        uint lane = shim::lane.x;                                                                                      \
        all[count] = &position;                                                                                        \
        all[count + 1] = &size;                                                                                        \
        all[count + 2] = &lane;                                                                                        \
        shim::call(name, all);                                                                                         \
    }                                                                                                                  \
    extern "C" int run_##name(void **values, unsigned x, unsigned y, int reverse) {                                     \
        return shim::run(body_##name, values, x, y, reverse);                                                          \
    }
