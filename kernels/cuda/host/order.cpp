// What the checked build looks at: where an access lands, and what it is ordered with.
#include <algorithm>
#include <unordered_map>

#include "state.h"

// The program's own image, in which constant tables lie.
extern "C" char __executable_start, _end;

namespace emulation {

const void* code;

// Shared memory: for each granule who wrote it last, and the last two threads that read it.
static Stamp written[kSharedMax / kGranule + 8], read_last[kSharedMax / kGranule + 8], read_before[kSharedMax / kGranule + 8];

static inline Stamp now() { return stamp_of(block.epoch, me->clock, me->number); }

bool happened_before(Stamp s) {
  const unsigned thread = thread_of(s), clock = clock_of(s);
  if (epoch_of(s) != block.epoch || thread == me->number) return true;
  if (thread < kThreadsMax && thread / 32 == me->warp && clock <= block.warp[me->warp].told[thread % 32]) return true;
  return thread < me->known.size() && clock <= me->known[thread];
}

static std::string who(Stamp s) {
  const unsigned t = thread_of(s);
  if (t == kBulkAgent) return "a bulk copy";
  if (t == kAtomicAgent) return "an atomic operation";
  const uint3 i = block.thread[t].index;
  return text("thread (%u, %u, %u)", i.x, i.y, i.z);
}

[[noreturn]] static void refuse_shared(Stamp s, uintptr_t p, bool writes, const char* other) {
  const unsigned at = (unsigned)(p - (uintptr_t)block.shared);
  if (s & kInFlight)
    fail("copy_in_flight", text("%s of byte %u of the shared window, to which an asynchronous copy of %s is not known to have ended",
                                writes ? "write" : "read", at, who(s).c_str()), (void*)p);
  fail("shared_race", text("%s of byte %u of the shared window and %s by %s, with no barrier between", writes ? "write" : "read", at, other,
                           who(s).c_str()), (void*)p);
}

void look_shared(uintptr_t p, unsigned bytes, bool writes, bool atomic) {
  const uintptr_t at = p - (uintptr_t)block.shared;
  if (at + bytes > block.order->shared_bytes)
    fail("outside_shared_window", text("%s of %u bytes at byte %zu of a shared window of %zu", writes ? "write" : "read", bytes, (size_t)at,
                                       block.order->shared_bytes), (void*)p);
  const Stamp self = now(), mark = atomic ? stamp_of(block.epoch, 0xfffff, kAtomicAgent) : self;
  for (uintptr_t i = at / kGranule; i < (at + bytes + kGranule - 1) / kGranule; ++i) {
    const Stamp s = written[i];
    const bool here = epoch_of(s) >= block.first_epoch;  // else a block before this one left it
    if (!here && (!writes || atomic))
      fail("unwritten_shared_read", text("read of byte %zu of the shared window, which nobody in this block wrote", (size_t)i * kGranule), (void*)p);
    if (here && s != self && ((s & kInFlight) || !(happened_before(s) || (atomic && thread_of(s) == kAtomicAgent))))
      refuse_shared(s, p, writes, "a write");
    if (!writes) {
      if (thread_of(read_last[i]) != me->number) read_before[i] = read_last[i];
      read_last[i] = self;
      continue;
    }
    for (const Stamp r : {read_last[i], read_before[i]})
      if (epoch_of(r) == block.epoch && !happened_before(r) && !atomic) refuse_shared(r, p, true, "a read");
    written[i] = mark;
  }
}

// The destination of a copy: written by it at some time until its wait, so nobody may touch it.
void mark_in_flight(void* to, unsigned bytes) {
  look_shared((uintptr_t)to, bytes, true, false);
  const uintptr_t at = (uintptr_t)to - (uintptr_t)block.shared;
  for (uintptr_t i = at / kGranule; i < (at + bytes) / kGranule; ++i) written[i] |= kInFlight;
}
void mark_landed(void* to, unsigned bytes, unsigned agent) {
  const uintptr_t at = (uintptr_t)to - (uintptr_t)block.shared;
  const Stamp s = agent == kBulkAgent ? stamp_of(block.epoch, block.bulk_clock, agent) : stamp_of(block.epoch, block.thread[agent].clock, agent);
  for (uintptr_t i = at / kGranule; i < (at + bytes) / kGranule; ++i) written[i] = s;
}

// ---- what blocks tell each other, in this launch.
static std::unordered_map<const void*, std::vector<Telling>> words;

void forget_blocks() { words.clear(); }
void hear_blocks(const void* at) {
  const std::vector<Telling>& word = words[at];
  const auto is_known = [&](const Heard& h) { return h.word == &word && h.count == word.size() && happened_before(h.at); };
  if (std::any_of(block.heard.begin(), block.heard.end(), is_known)) return;
  block.heard.push_back({&word, word.size(), now()});
}
void tell_blocks(const void* at) {
  std::vector<Telling>& word = words[at];
  Telling telling = {block.first_epoch, block.epoch, {}, {}};
  for (const Heard& h : block.heard)
    if (h.word != &word && happened_before(h.at)) telling.heard.push_back(h);
  tell(telling.known, *me);
  word.push_back(std::move(telling));
}

static bool tells_of(const Telling& t, Stamp s) {
  return epoch_of(s) >= t.first_epoch && (epoch_of(s) < t.epoch || (epoch_of(s) == t.epoch && clock_of(s) <= t.known[thread_of(s)]));
}
// Whether one of the tellings tells of `s`, or heard of it: each is asked once.
using Asked = std::unordered_map<const std::vector<Telling>*, size_t>;
static bool was_told(const Heard& heard, Stamp s, Asked& asked) {
  for (size_t& i = asked[heard.word]; i < heard.count;) {
    const Telling& telling = (*heard.word)[i++];
    if (tells_of(telling, s)) return true;
    for (const Heard& other : telling.heard)
      if (was_told(other, s, asked)) return true;
  }
  return false;
}
static bool has_heard(Stamp s) {
  Asked asked;
  for (auto heard = block.heard.rbegin(); heard != block.heard.rend(); ++heard)
    if (happened_before(heard->at) && was_told(*heard, s, asked)) return true;
  return false;
}

static void look_windows(uintptr_t p, unsigned bytes, bool writes, bool& constant) {
  const auto& windows = block.order->windows;
  bool inside = windows.empty();
  for (const Window& w : windows) {
    if (p < w.from || p + bytes > w.to) continue;
    constant |= w.use == Window::kConstant;
    inside |= !writes || w.use == Window::kWrites;
  }
  if (!inside)
    fail("outside_window", text("%s of %u bytes at ", writes ? "write" : "read", bytes) + describe(p) + ": no window of this launch allows it",
         (void*)p);
}

void look_global(uintptr_t p, unsigned bytes, bool writes, bool atomic) {
  Allocation* a = allocation_of(p);
  if (!a) {
    const bool image = p >= (uintptr_t)&__executable_start && p < (uintptr_t)&_end;
    const uintptr_t given = (uintptr_t)block.order->call.get();
    const bool parameter = p >= given && p < given + block.order->call_bytes;
    if ((image || parameter) && !writes) return;
  }
  const char* verb = writes ? "write" : "read";
  if (!a || p + bytes > a->from + a->bytes) fail("outside_allocation", text("%s of %u bytes at ", verb, bytes) + describe(p), (void*)p);
  bool constant = false;
  look_windows(p, bytes, writes, constant);
  if (me->depends && (writes || (a->by_kernel && !constant)))
    fail("read_before_dependency", text("%s at ", verb) + describe(p) + ", before the wait for the kernel that is launched before this one", (void*)p);
  if (writes) a->by_kernel = true;
  const Stamp self = now();
  for (uintptr_t i = (p - a->from) / kGranule; i < (p - a->from + bytes + kGranule - 1) / kGranule; ++i) {
    const Stamp s = a->written[i];
    if (s >> 31 >= block.launch_epoch && !atomic) {
      if (s >> 31 < block.first_epoch) {
        if (writes) fail("two_blocks_one_word", "write at " + describe(p) + ", which another block of this launch has written", (void*)p);
        if (!has_heard(s))
          fail("block_race", "read at " + describe(p) + ", which another block of this launch has written, and no ticket told this thread of it",
               (void*)p);
      } else if (!happened_before(s)) {
        fail("global_race", text("%s at ", verb) + describe(p) + " and a write by " + who(s) + ", with no barrier between", (void*)p);
      }
    }
    if (writes && !atomic) a->written[i] = self;
  }
}

// Whether this launch has written some of it.
bool is_written_here(uintptr_t p, unsigned bytes) {
  const Allocation* a = allocation_of(p);
  if (!a) return false;
  const Stamp* const first = a->written + (p - a->from) / kGranule;
  return std::any_of(first, first + (bytes + kGranule - 1) / kGranule, [](Stamp s) { return epoch_of(s) >= block.launch_epoch; });
}

void look(const void* pointer, unsigned bytes, bool writes, const void* from) {
  const uintptr_t p = (uintptr_t)pointer;
  if (!me || in_own_stack(p)) return;
  code = from;
  ++counts.accesses;
  if (in_shared(p)) look_shared(p, bytes, writes, false);
  else if (in_stacks(p)) fail("foreign_memory", "access to another thread's own variables", pointer);
  else look_global(p, bytes, writes, false);
}

}  // namespace emulation
