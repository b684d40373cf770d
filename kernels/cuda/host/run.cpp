// A launch: its blocks one after the other, in the checked build in another order each time.
#include <cstdarg>
#include <mutex>
#include <numeric>

#include "device.h"
#include "state.h"

namespace emulation {

thread_local std::string report;
thread_local Counts counts;
static unsigned char* shared_memory;
static bool failed;

std::string text(const char* format, ...) {
  char s[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(s, sizeof s, format, arguments);
  va_end(arguments);
  return s;
}

std::string place_of(Site site) {
  const char* file = site.file_name();
  if (const char* slash = strrchr(file, '/')) file = slash + 1;
  return text("%s:%u", file, site.line());
}

// Leaves every fiber where it stands; the next launch places them anew.
void fail(const char* name, const std::string& what, const void* address, const char* place) {
  report = text("[%s] ", name) + what;
  if (block.order) report += text("; kernel %s, block (%u, %u, %u)", block.order->name, block.index.x, block.index.y, block.index.z);
  if (me) report += text(", thread (%u, %u, %u)", me->index.x, me->index.y, me->index.z);
  const std::string at = place ? place : line_of(code);
  if (!at.empty()) report += ", at " + at;
  if (address) report += text(", address %p", address);
  failed = true;
  if (!me) { fprintf(stderr, "emulation: %s\n", report.c_str()); abort(); }
  leave_fibers();
}

static void begin_block(const Order& order, unsigned number) {
  const dim3 g = order.grid, b = order.block;
  block.index = {number % g.x, number / g.x % g.y, number / (g.x * g.y)};
  block.threads = block.live = b.x * b.y * b.z;
  block.arrived = block.ready_from = block.ready_to = 0;
  block.first_epoch = ++block.epoch;
  block.spins = 0;
  block.mbarriers.clear(), block.heard.clear();
  for (auto& named : block.named) named.arrived = 0, named.told.clear(), named.waiting.clear();
  for (unsigned w = 0; w < (block.threads + 31) / 32; ++w) {
    block.warp[w].arrived = 0;
    memset(block.warp[w].told, 0, sizeof block.warp[w].told);
  }
  for (unsigned i = 0; i < block.threads; ++i) {
    Thread& t = block.thread[i];
    t.index = {i % b.x, i / b.x % b.y, i / (b.x * b.y)};
    t.number = i, t.warp = i / 32, t.lane = i % 32, t.clock = 1, t.group = 0;
    t.done = false, t.depends = order.programmatic, t.waits = nullptr;
    t.known.clear(), t.copies.clear();
    place_thread(t);
  }
  // A number that is read before it is written is none: of every type, all ones is not a number.
  if (EMULATION_CHECKED) memset(block.shared, 0xff, order.shared_bytes);
}

static void end_block(const Order& order) {
  if (!EMULATION_CHECKED || failed) return;
  me = &block.thread[0];
  for (auto& barrier : block.mbarriers)
    if (!barrier.copies.empty())
      report = text("[copy_never_waited] a bulk copy that nobody waited for; kernel %s, block (%u, %u, %u), at %s", order.name,
                    block.index.x, block.index.y, block.index.z, place_of(barrier.copies[0].site).c_str()), failed = true;
  bool waited = !order.programmatic;
  for (unsigned i = 0; i < block.threads; ++i) waited |= !block.thread[i].depends;
  if (!waited)
    report = text("[no_dependency_wait] launched with programmatic dependence, and no thread of it waited; kernel %s, block (%u, %u, %u)",
                  order.name, block.index.x, block.index.y, block.index.z), failed = true;
  me = nullptr;
}

static bool possible(const Order& o) {
  const uint64_t threads = (uint64_t)o.block.x * o.block.y * o.block.z, blocks = (uint64_t)o.grid.x * o.grid.y * o.grid.z;
  if (threads && threads <= kThreadsMax && blocks && blocks < 1u << 31 && o.grid.y < 65536 && o.grid.z < 65536 && o.shared_bytes <= kSharedMax)
    return true;
  report = text("[impossible_launch] %llu threads, %llu blocks, %zu bytes of shared memory; kernel %s", (unsigned long long)threads,
                (unsigned long long)blocks, o.shared_bytes, o.name);
  return false;
}

cudaError_t run(const Order& order) {
  static std::mutex one_launch;
  std::lock_guard<std::mutex> lock(one_launch);
  if (!possible(order)) return cudaErrorInvalidConfiguration;
  prepare_stacks();
  if (!shared_memory) shared_memory = (unsigned char*)aligned_alloc(1024, 256 * 1024);
  block.order = &order, block.shared = shared_memory, failed = false;
  block.launch_epoch = block.epoch + 1;
  forget_blocks();
  const unsigned blocks = order.grid.x * order.grid.y * order.grid.z;
  // Every block once: a step that has no factor in common with their number.
  uint64_t at = 0, step = 1;
  if (EMULATION_CHECKED) {
    at = random_below(blocks), step = random_below(blocks) | 1;
    while (std::gcd(step, (uint64_t)blocks) != 1) step += 2;
  }
  for (unsigned i = 0; i < blocks && !failed; ++i, at = (at + step) % blocks) {
    begin_block(order, (unsigned)at);
    for (unsigned t = 1; t < block.threads; ++t) make_ready(t);
    enter_fibers(block.thread[0]);
    end_block(order);
  }
  block.order = nullptr;
  return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

uint3 thread_index() { return me->index; }
uint3 block_index() { return block.index; }
dim3 block_size() { return block.order->block; }
dim3 grid_size() { return block.order->grid; }
unsigned char* shared_window() { return block.shared; }
unsigned lane_number() { return me->lane; }

}  // namespace emulation

using namespace emulation;

extern "C" {
const char* loam_emulation_report() { return report.c_str(); }
int loam_emulation_checked() { return EMULATION_CHECKED; }
void loam_emulation_seed(uint64_t value) { seed = value ? value : 1; }
void loam_emulation_counts(uint64_t out[4]) {
  out[0] = counts.barriers, out[1] = counts.collectives, out[2] = counts.multiplies, out[3] = counts.accesses;
}
}
