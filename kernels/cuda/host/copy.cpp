// Asynchronous copies, each as late as it may be: its bytes land at the wait that covers it, not before.
#include <algorithm>

#include "state.h"

namespace emulation {

static void require_aligned(const void* p, unsigned bytes, const char* what, Site site) {
  if ((uintptr_t)p % bytes) fail("misaligned", text("%s at an address that is no multiple of %u", what, bytes), p, place_of(site).c_str());
}
static void require_shared(const void* p, const char* what, Site site) {
  if (!in_shared((uintptr_t)p)) fail("outside_shared_window", text("%s outside the shared window", what), p, place_of(site).c_str());
}

void copy_async(void* to, const void* from, unsigned bytes, unsigned valid, Site site) {
  if (EMULATION_CHECKED) {
    code = __builtin_return_address(0);
    require_aligned(to, bytes, "cp.async to", site), require_aligned(from, bytes, "cp.async from", site);
    require_shared(to, "cp.async to memory", site);
    if (valid) look_global((uintptr_t)from, valid, false, false);
    mark_in_flight(to, bytes);
  }
  me->copies.push_back({to, from, bytes, valid, me->group, site});
}
void copy_commit() { ++me->group; }

static void land(const Copy& copy, unsigned agent) {
  if (copy.valid) memcpy(copy.to, copy.from, copy.valid);
  memset((char*)copy.to + copy.valid, 0, copy.bytes - copy.valid);
  if (EMULATION_CHECKED) mark_landed(copy.to, copy.bytes, agent);
}

// All but the `left` youngest committed groups have ended. Copies that no commit follows are in no group: only a wait for
// all (`left` = ~0) covers them.
void copy_wait(unsigned left) {
  auto& copies = me->copies;
  auto ended = [&](const Copy& c) { return left == ~0u || c.group + left < me->group; };
  for (const Copy& c : copies) if (ended(c)) land(c, me->number);
  copies.erase(std::remove_if(copies.begin(), copies.end(), ended), copies.end());
}

// ---- barriers in shared memory that count arrivals and bytes, phase after phase.

static MBarrier& barrier_at(void* at, Site site) {
  for (auto& b : block.mbarriers)
    if (b.at == at) {
      if (EMULATION_CHECKED && !happened_before(b.made))
        fail("mbarrier_not_ready", "used by a thread that no barrier has told of its mbarrier.init", at, place_of(site).c_str());
      return b;
    }
  fail("mbarrier_not_ready", "no mbarrier.init was made at this address", at, place_of(site).c_str());
}

static void end_phase(MBarrier& b) {
  if (b.pending || b.bytes) return;
  ++b.phase, b.pending = b.expected, block.spins = 0;
  b.known = std::move(b.told);
  b.told.clear();
}

void mbarrier_init(void* at, unsigned arrivals, Site site) {
  require_aligned(at, 8, "an mbarrier", site), require_shared(at, "an mbarrier", site);
  const Stamp made = stamp_of(block.epoch, me->clock, me->number);
  for (auto& b : block.mbarriers)
    if (b.at == at) { b = {at, arrivals, arrivals, made}; return; }
  block.mbarriers.push_back({at, arrivals, arrivals, made});
}

static void arrive(MBarrier& b, void* at, Site site) {
  if (b.pending == 0) fail("mbarrier_overrun", text("more arrivals in phase %llu than the %u it was made for", (unsigned long long)b.phase, b.expected),
                           at, place_of(site).c_str());
  if (EMULATION_CHECKED) tell(b.told, *me);
  --b.pending;
  end_phase(b);
}
void mbarrier_arrive(void* at, Site site) { arrive(barrier_at(at, site), at, site); }
void mbarrier_expect(void* at, unsigned bytes, bool arrives, Site site) {
  MBarrier& b = barrier_at(at, site);
  b.bytes += bytes;
  if (arrives) arrive(b, at, site);
}

void bulk_copy(void* to, const void* from, unsigned bytes, void* at, Site site) {
  MBarrier& b = barrier_at(at, site);
  require_aligned(to, 16, "a bulk copy to", site), require_aligned(from, 16, "a bulk copy from", site);
  if (bytes % 16) fail("misaligned", text("a bulk copy of %u bytes, which is no multiple of 16", bytes), to, place_of(site).c_str());
  require_shared(to, "a bulk copy to memory", site);
  if (EMULATION_CHECKED) {
    code = __builtin_return_address(0);
    look_global((uintptr_t)from, bytes, false, false);
    mark_in_flight(to, bytes);
  }
  b.copies.push_back({to, from, bytes, bytes, 0, site});
}

// Whether the phase of this parity has ended. What is in flight lands when somebody first asks in vain.
bool mbarrier_test(void* at, unsigned parity, Site site) {
  MBarrier& b = barrier_at(at, site);
  if ((b.phase & 1) == parity && !b.copies.empty() && b.bytes > 0) {
    std::vector<Copy> copies = std::move(b.copies);
    b.copies.clear();
    ++block.bulk_clock;
    for (const Copy& c : copies) land(c, kBulkAgent), b.bytes -= c.bytes;
    if (EMULATION_CHECKED) b.told.resize(kThreadsMax + 1), b.told[kBulkAgent] = block.bulk_clock;
    end_phase(b);
  }
  if ((b.phase & 1) != parity) {
    if (EMULATION_CHECKED) learn(*me, b.known);
    return true;
  }
  if (block.spins + 1 >= (uint64_t)block.live << 16)
    fail("mbarrier_never_ends", text("phase %llu lacks %u arrivals and %lld bytes", (unsigned long long)b.phase, b.pending, (long long)b.bytes), at,
         place_of(site).c_str());
  return false;
}

// ---- between blocks, and between kernels.

void dependency_wait() { me->depends = false; }

// Lets the others run once. A spin that goes on while nothing else happens would go on for ever.
void yield(const char* what, Site site) {
  if (++block.spins >= (uint64_t)block.live << 16)
    fail("spin_without_end", text("%s has turned %llu times, and nothing else can happen", what, (unsigned long long)block.spins), nullptr,
         place_of(site).c_str());
  if (block.ready_from == block.ready_to) return;
  make_ready(me->number);
  me->waits = what, me->site = site;
  park();
  me->waits = nullptr;
}

static void touch_from(const void* p, unsigned bytes, bool writes, Site site, const void* code) {
  if ((uintptr_t)p % bytes) fail("misaligned", text("access of %u bytes at an address that is no multiple", bytes), p, place_of(site).c_str());
  look(p, bytes, writes, code);
}
void touch(const void* p, unsigned bytes, bool writes, Site site) {
  if (EMULATION_CHECKED) touch_from(p, bytes, writes, site, __builtin_return_address(0));
}
void touch_unchanging(const void* p, unsigned bytes, Site site) {
  if (!EMULATION_CHECKED) return;
  touch_from(p, bytes, false, site, __builtin_return_address(0));
  if (is_written_here((uintptr_t)p, bytes))
    fail("changing_read", "read at " + describe((uintptr_t)p) + ", which this launch has written, by a load for what does not change meanwhile", p,
         place_of(site).c_str());
}

template <class T> static T changed(Atomic what, T old, T value, T compared, bool is_signed) {
  using S = std::make_signed_t<T>;
  switch (what) {
    case Atomic::kAdd: return old + value;
    case Atomic::kMin: return is_signed ? (T)std::min((S)old, (S)value) : std::min(old, value);
    case Atomic::kMax: return is_signed ? (T)std::max((S)old, (S)value) : std::max(old, value);
    case Atomic::kExchange: return value;
    case Atomic::kCompare: return old == compared ? value : old;
    case Atomic::kIncrement: return old >= value ? 0 : old + 1;
    case Atomic::kAnd: return old & value;
    case Atomic::kOr: return old | value;
  }
  return old;
}
template <class T> static T atomic(Atomic what, T* p, T value, T compared, bool is_signed, Orders orders, Site site) {
  if (EMULATION_CHECKED) {
    require_aligned(p, sizeof(T), "an atomic operation", site);
    code = __builtin_return_address(0);
    if (!in_shared((uintptr_t)p)) look_global((uintptr_t)p, sizeof(T), true, true);
    else if (orders == Orders::kNothing) look_shared((uintptr_t)p, sizeof(T), true, true);
    else fail("outside_allocation", "a ticket or a flag in shared memory, where other blocks cannot see it", p, place_of(site).c_str());
    if (orders == Orders::kHears || orders == Orders::kBoth) hear_blocks(p);
    if (orders == Orders::kTells || orders == Orders::kBoth) tell_blocks(p);
  }
  const T old = *p, now = changed(what, old, value, compared, is_signed);
  if (now != old) block.spins = 0;
  *p = now;
  return old;
}
uint32_t atomic32(Atomic what, uint32_t* p, uint32_t value, uint32_t compared, bool is_signed, Orders orders, Site site) {
  return atomic(what, p, value, compared, is_signed, orders, site);
}
uint64_t atomic64(Atomic what, uint64_t* p, uint64_t value, uint64_t compared, Orders orders, Site site) {
  return atomic(what, p, value, compared, false, orders, site);
}
void float_atomic(Site site) {
  fail("float_atomic", "a sum whose order is left to chance: use a ticket, and add in order", nullptr, place_of(site).c_str());
}
void trap(Site site) { fail("trap", "the kernel gave up", nullptr, place_of(site).c_str()); }

}  // namespace emulation
