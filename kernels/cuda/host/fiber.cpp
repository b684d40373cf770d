// One fiber a CUDA thread, switched by hand: about 10 ns, where ucontext asks the kernel for a signal mask and takes 230.
#include <sys/mman.h>
#include <unistd.h>

#include "state.h"

namespace emulation {

Block block;
thread_local Thread* me = nullptr;
uint64_t seed = 0x9e3779b97f4a7c15;

static unsigned char* stacks;
static void* host_stack;

// Keeps what a called function must keep, and the stack.
extern "C" void emulation_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl emulation_switch
.type emulation_switch,@function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch,.-emulation_switch
)");
constexpr unsigned kSaved = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl emulation_switch
.type emulation_switch,@function
emulation_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size emulation_switch,.-emulation_switch
)");
#else
#error "the emulation knows x86-64 and aarch64: write its switch for this machine here"
#endif

// Each stack ends in a page that may not be touched.
void prepare_stacks() {
  if (stacks) return;
  const size_t bytes = (size_t)kStackBytes * kThreadsMax;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) { perror("emulation: stacks"); abort(); }
  stacks = (unsigned char*)p;
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (unsigned i = 0; i < kThreadsMax; ++i) mprotect(stacks + (size_t)kStackBytes * i, page, PROT_NONE);
}
bool in_stacks(uintptr_t p) { return p - (uintptr_t)stacks < (size_t)kStackBytes * kThreadsMax; }
bool in_own_stack(uintptr_t p) { return p - (uintptr_t)(stacks + (size_t)kStackBytes * me->number) < kStackBytes; }

static void run_thread() {
  block.order->body(block.order->call.get());
  Thread* self = me;
  if (!self->copies.empty())
    fail("copy_never_waited", text("thread left with %zu cp.async that no wait covers", self->copies.size()), nullptr,
         place_of(self->copies[0].site).c_str());
  self->done = true;
  self->waits = nullptr;
  if (--block.live == 0) leave_fibers();
  park();
  __builtin_unreachable();
}

// The stacks' tops are staggered, so that they do not all share a set of the cache.
void place_thread(Thread& thread) {
  const unsigned i = thread.number;
  auto* top = (void**)(stacks + (size_t)kStackBytes * (i + 1) - 64 - (i % 32) * 192 - (i / 32 % 8) * 64);
#if defined(__x86_64__)
  *--top = nullptr;  // so that the stack is aligned as after a call
  *--top = (void*)run_thread;
  for (unsigned k = 0; k < kSaved; ++k) *--top = nullptr;
#else
  top -= 20;
  memset(top, 0, 160);
  top[11] = (void*)run_thread;
#endif
  thread.stack = top;
}

void switch_to(Thread& next) {
  Thread* self = me;
  if (self == &next) return;
  me = &next;
  emulation_switch(&self->stack, next.stack);
}
void enter_fibers(Thread& first) {
  me = &first;
  emulation_switch(&host_stack, first.stack);
  me = nullptr;
}
void leave_fibers() {
  void* dropped;
  emulation_switch(&dropped, host_stack);
  __builtin_unreachable();
}

void make_ready(unsigned thread) { block.ready[block.ready_to++ & 2047] = (uint16_t)thread; }

uint64_t random_below(uint64_t limit) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return seed % limit;
}

// Who waits where, in one line: at most four places.
static std::string who_waits() {
  struct Place { const char* what; std::string at; unsigned threads; };
  std::vector<Place> places;
  unsigned left = 0;
  for (unsigned i = 0; i < block.threads; ++i) {
    const Thread& t = block.thread[i];
    if (t.done) { ++left; continue; }
    const std::string at = place_of(t.site);
    const char* what = t.waits ? t.waits : "nothing";
    bool found = false;
    for (auto& p : places)
      if (!strcmp(p.what, what) && p.at == at) ++p.threads, found = true;
    if (!found) places.push_back({what, at, 1});
  }
  std::string all;
  for (size_t i = 0; i < places.size() && i < 4; ++i)
    all += text("%s%u wait for %s at %s", i ? ", " : "", places[i].threads, places[i].what, places[i].at.c_str());
  return all + (left ? text(", %u have left", left) : "");
}

void park() {
  if (block.ready_from == block.ready_to) {
    const char* name = "barrier_not_reached";
    for (unsigned i = 0; i < block.threads; ++i) {
      const Thread& t = block.thread[i];
      if (t.done || !t.waits) continue;
      if (!strcmp(t.waits, "a named barrier")) name = "named_barrier_not_reached";
      else if (strcmp(t.waits, "__syncthreads")) { name = "collective_not_reached"; me = &block.thread[i]; }
    }
    fail(name, "no thread can run: " + who_waits());
  }
  switch_to(block.thread[block.ready[block.ready_from++ & 2047]]);
}

}  // namespace emulation
