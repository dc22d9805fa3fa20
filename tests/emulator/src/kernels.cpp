// Part of libcudart: kernels, block by block, each thread a fiber that runs until it has to wait.
//
//   EMU_SHUFFLE=1     blocks and threads start in an order of chance, as on a GPU
//   EMU_REFUSE=kernel  does not start, as where a GPU has too few registers, and nothing tells
#include <sys/mman.h>
#include <unistd.h>

#include <numeric>
#include <random>
#include <vector>

#include "emu.h"
#include "runtime.h"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

EmuState emu_state;

namespace {
const bool SHUFFLE = emu_set("EMU_SHUFFLE");
enum { RUN, AT_BLOCK, AT_WARP, DONE };
struct Fiber {
  void* sp;
  char* stack;
  uint3 thread;
  int linear;
  int state;
  unsigned exchanges;  // with its warp
};
const size_t STACK = 256 << 10;
std::vector<Fiber*> pool, live;
Fiber* current;
void* scheduler_sp;
int next_thread, threads;
const std::function<void()>* body;
const char* kernel_name;
unsigned long long slots[2][32][32];

extern "C" void emu_switch(void** save, void* load);
asm(R"(
.text
.globl emu_switch
.hidden emu_switch
emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

// The numbers below n in an order of chance: i -> factor * i + first, modulo n
struct Order {
  size_t n, factor = 1, first = 0;
  Order(size_t n = 1) : n(n) {
    static std::mt19937_64 engine(getpid());
    if (!SHUFFLE) return;
    first = engine() % n;
    do factor = engine() % n;
    while (n > 1 && std::gcd(factor, n) != 1);
  }
  size_t operator()(size_t i) const {
    return (size_t)((unsigned __int128)factor * i % n + first) % n;
  }
} thread_order;

uint3 coordinates(int i) {
  const dim3& d = emu_state.block_dim;
  return uint3{i % d.x, i / d.x % d.y, i / d.x / d.y};
}

// Runs threads until one has to wait; that one comes back here when it is done
void fiber_main() {
  for (;;) {
    while (next_thread < threads) {
      current->linear = thread_order(next_thread++);
      emu_state.thread = current->thread = coordinates(current->linear);
      current->state = RUN, current->exchanges = 0;
      (*body)();
    }
    current->state = DONE;
    emu_switch(&current->sp, scheduler_sp);
  }
}

Fiber* new_fiber() {
  auto* f = new Fiber;
  f->stack = (char*)mmap(
      0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  auto* top = (void**)(f->stack + STACK);
  *--top = 0;  // its return address: 8 bytes below a multiple of 16, as a call leaves it
  *--top = (void*)fiber_main;
  for (int i = 0; i < 6; i++) *--top = 0;
  f->sp = top;
  f->state = DONE;
  return f;
}

void resume(Fiber* f) {
  current = f;
  f->state = RUN;
  emu_state.thread = f->thread;
  emu_switch(&scheduler_sp, f->sp);
}

void run_block() {
  next_thread = 0;
  live.clear();
  while (next_thread < threads) {
    if (pool.empty()) pool.push_back(new_fiber());
    Fiber* f = pool.back();
    pool.pop_back();
    resume(f);
    if (f->state == DONE)
      pool.push_back(f);
    else
      live.push_back(f);
  }
  while (!live.empty()) {
    // who may go on: all of a block, or all of a warp, wait for the same
    int at_block = 0;
    int of_warp[32] = {}, at_warp[32] = {};
    for (auto* f : live) {
      at_block += f->state == AT_BLOCK;
      of_warp[f->linear / 32]++;
      at_warp[f->linear / 32] += f->state == AT_WARP;
    }
    const bool all = at_block == (int)live.size();
    bool any = false;
    auto turn = live;
    live.clear();
    for (auto* f : turn) {
      const int warp = f->linear / 32;
      if (all || (f->state == AT_WARP && at_warp[warp] == of_warp[warp])) {
        any = true;
        resume(f);
        if (f->state == DONE)
          pool.push_back(f);
        else
          live.push_back(f);
      } else
        live.push_back(f);
    }
    if (!any) emu_fail("kernel %s: threads of a block wait at different barriers", kernel_name);
  }
}
}  // namespace

void emu_sync(int kind) {
  current->state = kind ? AT_WARP : AT_BLOCK;
  emu_switch(&current->sp, scheduler_sp);
}
// In turn, so that one meeting of the warp is enough: who writes anew has met all who have read
unsigned long long* emu_warp_slots() {
  return slots[current->exchanges++ % 2][current->linear / 32];
}
unsigned emu_warp_active() {
  unsigned r = 0;
  for (auto* f : live)
    if (f->linear / 32 == current->linear / 32) r |= 1u << f->linear % 32;
  return r | 1u << current->linear % 32;
}

void emu_launch(
    const char* kernel, dim3 grid, dim3 block, size_t shared, std::function<void()> work) {
  static const char* refused = getenv("EMU_REFUSE");
  if (refused && std::string(kernel) == refused) {
    emu_error = cudaErrorLaunchOutOfResources;
    return;
  }
  const size_t n = size_t(block.x) * block.y * block.z;
  const bool bad = !n || n > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64 || !grid.x ||
                   !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535 ||
                   shared > 48 << 10;
  emu_count(std::string("kernel ") + (strncmp(kernel, "func_", 5) ? kernel : "func_*"));
  if (bad)
    emu_fail("kernel %s: bad launch, grid %u %u %u, block %u %u %u, shared %zu", kernel, grid.x,
        grid.y, grid.z, block.x, block.y, block.z, shared);
  if (shared) emu_fail("kernel %s: dynamic shared memory is not emulated", kernel);
  emu_enqueue([=]() {
    body = &work, kernel_name = kernel, threads = n;
    emu_state.block_dim = block, emu_state.grid_dim = grid;
    const size_t blocks = size_t(grid.x) * grid.y * grid.z;
    const Order block_order(blocks);
    thread_order = Order(n);
    for (size_t b = 0; b < blocks; b++) {
      const size_t i = block_order(b);
      emu_state.block =
          uint3{unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
      run_block();
    }
    kernel_name = nullptr;
  });
}
