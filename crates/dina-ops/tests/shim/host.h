// Runs a kernel on the host: block after block, and inside a block lane after lane, each on a stack of its own. A lane runs until it
// ends or waits at a barrier; when all lanes wait, all go on. Lanes and blocks can be taken in reverse order: a kernel whose result depends on
// the order lacks a barrier, or has two blocks write to one place.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace shim {
struct Three {
    unsigned x, y, z;
};
static thread_local Three block, blocks, lane;

typedef void (*Body)(void **);

struct Fiber {
    // Where it starts, and where it goes on: jumps cost no system call.
    ucontext_t context;
    jmp_buf place;
    bool started = false;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool waits = false;
};
static thread_local std::vector<Fiber> fibers;
static thread_local jmp_buf scheduler;
static thread_local unsigned current;
static thread_local Body body;
static thread_local void **arguments;

static void barrier() {
    Fiber &own = fibers[current];
    own.waits = true;
    if (_setjmp(own.place) == 0) {
        _longjmp(scheduler, 1);
    }
}

static void start() {
    body(arguments);
    _longjmp(scheduler, 1);
}

// Runs a lane until it waits or ends.
__attribute__((noinline)) static void resume(Fiber &fiber) {
    if (_setjmp(scheduler) != 0) {
        return;
    }
    if (fiber.started) {
        _longjmp(fiber.place, 1);
    }
    fiber.started = true;
    setcontext(&fiber.context);
}

// False when some lanes wait at a barrier that the others never reach.
static bool run_block(bool reverse) {
    unsigned count = fibers.size();
    for (Fiber &fiber : fibers) {
        fiber.waits = fiber.started = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, start, 0);
    }
    for (;;) {
        unsigned waiting = 0;
        for (unsigned step = 0; step < count; step++) {
            current = reverse ? count - 1 - step : step;
            lane = {current, 0, 0};
            fibers[current].waits = false;
            resume(fibers[current]);
            waiting += fibers[current].waits;
        }
        if (waiting == 0) {
            return true;
        }
        if (waiting < count) {
            return false;
        }
    }
}

static int run(Body kernel, void **values, unsigned x, unsigned y, int reverse) {
    fibers.resize(BLOCK);
    body = kernel;
    arguments = values;
    blocks = {x, y, 1};
    for (unsigned step = 0; step < x * y; step++) {
        unsigned index = reverse ? x * y - 1 - step : step;
        block = {index % x, index / x, 0};
        if (!run_block(reverse)) {
            return 1;
        }
    }
    return 0;
}

template <class T> static T &argument(void **values, unsigned index) {
    return *static_cast<std::remove_const_t<T> *>(values[index]);
}

// Calls a kernel with the values that the pointers lead to.
template <class... A, std::size_t... I>
static void call(void (*kernel)(A...), void **values, std::index_sequence<I...>) {
    kernel(argument<std::remove_reference_t<A>>(values, I)...);
}
template <class... A> static void call(void (*kernel)(A...), void **values) {
    call(kernel, values, std::index_sequence_for<A...>());
}
} // namespace shim
