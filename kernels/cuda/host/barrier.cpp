// Barriers of a block, of some of its threads, of a warp; and what lanes tell each other.
#include <algorithm>
#include <numeric>

#include "state.h"

namespace emulation {

static void wait_for(const char* what, Site site) {
  me->waits = what, me->site = site;
  park();
  me->waits = nullptr;
}

// What a thread knows, and did until now, becomes known to whoever learns from `to`.
void tell(Knowledge& to, Thread& from) {
  to.resize(kThreadsMax + 1);
  for (size_t i = 0; i < from.known.size(); ++i) to[i] = std::max(to[i], from.known[i]);
  const unsigned first = from.warp * 32;
  for (unsigned lane = 0; lane < 32; ++lane) to[first + lane] = std::max(to[first + lane], block.warp[from.warp].told[lane]);
  to[from.number] = std::max(to[from.number], from.clock++);
}
void learn(Thread& to, const Knowledge& from) {
  if (from.empty()) return;
  to.known.resize(kThreadsMax + 1);
  for (size_t i = 0; i < from.size(); ++i) to.known[i] = std::max(to.known[i], from[i]);
}

// Everything before is known to all: a new epoch, in which nobody knows more than that.
static void begin_epoch() {
  ++block.epoch;
  bool waited = false;
  for (unsigned i = 0; i < block.threads; ++i) {
    Thread& t = block.thread[i];
    t.clock = 1, waited |= !t.depends;
    t.known.clear();
  }
  for (unsigned i = 0; waited && i < block.threads; ++i) block.thread[i].depends = false;
  for (unsigned w = 0; w < (block.threads + 31) / 32; ++w) memset(block.warp[w].told, 0, sizeof block.warp[w].told);
}

void sync_block(Site site) {
  ++counts.barriers;
  if (EMULATION_CHECKED) {
    if (block.live != block.threads)
      fail("barrier_not_reached", text("__syncthreads after %u threads have left the block", block.threads - block.live), nullptr,
           place_of(site).c_str());
    if (block.arrived == 0) block.barrier_site = site;
    else if (block.barrier_site.line() != site.line() || block.barrier_site.file_name() != site.file_name())
      fail("barrier_not_reached", "some threads are at the __syncthreads of " + place_of(block.barrier_site), nullptr, place_of(site).c_str());
  }
  if (++block.arrived < block.live) return wait_for("__syncthreads", site);
  block.arrived = 0, block.spins = 0;
  if (EMULATION_CHECKED) begin_epoch();
  else if (block.order->programmatic) block.thread[0].depends = false;
  const unsigned n = block.threads, self = me->number;
  uint64_t at = 0, step = 1;
  if (EMULATION_CHECKED) {
    at = random_below(n), step = random_below(n) | 1;
    while (std::gcd(step, (uint64_t)n) != 1) step += 2;
  }
  for (unsigned i = 0; i < n; ++i, at = at + step >= n ? (at + step) % n : at + step)
    if (at != self && !block.thread[at].done) make_ready((unsigned)at);
}

void sync_named(unsigned number, unsigned threads, bool waits, Site site) {
  if (number == 0 || number > 15 || threads == 0 || threads % 32 || threads > block.threads)
    fail("named_barrier_wrong", text("barrier %u for %u threads: 1 to 15, and whole warps of the block", number, threads), nullptr,
         place_of(site).c_str());
  NamedBarrier& b = block.named[number];
  if (b.arrived == 0) b.expected = threads;
  if (b.expected != threads)
    fail("named_barrier_wrong", text("barrier %u is for %u threads here and for %u at %s", number, threads, b.expected, place_of(b.site).c_str()),
         nullptr, place_of(site).c_str());
  b.site = site;
  if (EMULATION_CHECKED) tell(b.told, *me);
  if (++b.arrived < b.expected) {
    if (!waits) return;
    b.waiting.push_back(me);
    return wait_for("a named barrier", site);
  }
  if (waits) b.waiting.push_back(me);
  for (Thread* t : b.waiting) {
    if (EMULATION_CHECKED) learn(*t, b.told);
    if (t != me) make_ready(t->number);
  }
  b.arrived = 0, block.spins = 0;
  b.told.clear(), b.waiting.clear();
}

// Memory is in order among the lanes of a __syncwarp, and only of that one: a shuffle orders nothing.
static void order_lanes(Warp& warp, unsigned mask) {
  Thread* lanes = &block.thread[me->warp * 32];
  bool more = mask != ~0u;
  for (unsigned l = 0; l < 32; ++l) more |= (mask >> l & 1) && !lanes[l].known.empty();
  if (more) {
    Knowledge all;
    for (unsigned l = 0; l < 32; ++l) if (mask >> l & 1) tell(all, lanes[l]);
    for (unsigned l = 0; l < 32; ++l) if (mask >> l & 1) learn(lanes[l], all);
  } else {
    for (unsigned l = 0; l < 32; ++l) warp.told[l] = lanes[l].clock++;
  }
}

using Fold = void (*)(Warp&, unsigned turn);

// Refuses a lane that is elsewhere than those of its warp that came before, and a mask that names one that has left.
static void check_lanes(const Warp& warp, unsigned mask, const char* what, Site site) {
  const Thread* self = me;
  auto refuse = [&](const char* name, const std::string& how) { fail(name, what + how, nullptr, place_of(site).c_str()); };
  if (!(mask >> self->lane & 1)) refuse("collective_lanes_differ", text(" by a lane that is not in its mask %08x", mask));
  if (warp.arrived && warp.expected != mask)
    refuse("collective_lanes_differ", text(" with mask %08x, where lanes before had %08x", mask, warp.expected));
  if (warp.arrived && (warp.site.line() != site.line() || warp.site.column() != site.column() || warp.what != what))
    refuse("collective_lanes_differ", text(", where lanes before are at the %s of %s", warp.what, place_of(warp.site).c_str()));
  if (block.live == block.threads && self->warp * 32 + 32 <= block.threads) return;
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned t = self->warp * 32 + l;
    if ((mask >> l & 1) && (t >= block.threads || block.thread[t].done))
      refuse("collective_not_reached", text(" names lane %u, which has left or never was", l));
  }
}

// Lanes of `mask` arrive; the last one folds what was given and lets the others go on. Returns the turn's table.
static unsigned gather(unsigned mask, const void* given, size_t bytes, const char* what, Site site, Fold fold, bool memory) {
  Thread* self = me;
  Warp& warp = block.warp[self->warp];
  ++counts.collectives;
  if (EMULATION_CHECKED) check_lanes(warp, mask, what, site);
  warp.expected = mask, warp.site = site, warp.what = what;
  const unsigned turn = warp.turn & 1;
  if (bytes) memcpy(warp.given[turn][self->lane], given, bytes);
  warp.arrived |= 1u << self->lane;
  if (warp.arrived != mask) {
    wait_for(what, site);
    return turn;
  }
  if (fold) fold(warp, turn);
  if (memory && EMULATION_CHECKED) order_lanes(warp, mask);
  warp.arrived = 0, ++warp.turn;
  const unsigned flip = EMULATION_CHECKED ? (unsigned)random_below(32) : 0;
  for (unsigned i = 0; i < 32; ++i)
    if (const unsigned l = i ^ flip; (mask >> l & 1) && l != self->lane) make_ready(self->warp * 32 + l);
  return turn;
}

void sync_warp(unsigned mask, Site site) { gather(mask, nullptr, 0, "__syncwarp", site, nullptr, true); }

const uint8_t* exchange(unsigned mask, const void* given, size_t bytes, const char* what, Site site) {
  const unsigned turn = gather(mask, given, bytes, what, site, nullptr, false);
  return block.warp[me->warp].given[turn][0];
}

void collective_source_missing(unsigned lane, const char* what, Site site) {
  fail("collective_lanes_differ", text("%s from lane %u, which is not in the mask", what, lane), nullptr, place_of(site).c_str());
}

// ---- matrices. Fragments lie as the PTX manual draws them (m16n8k16, and ldmatrix's 8 by 8 of 16 bits).

template <unsigned kMatrices, bool kTransposed> static void load_matrices(Warp& warp, unsigned turn) {
  for (unsigned m = 0; m < kMatrices; ++m) {
    const uint8_t* row[8];
    for (unsigned r = 0; r < 8; ++r) memcpy(&row[r], warp.given[turn][m * 8 + r], sizeof row[r]);
    for (unsigned l = 0; l < 32; ++l) {
      uint8_t* to = warp.made[turn][l] + 4 * m;
      if (!kTransposed) memcpy(to, row[l / 4] + l % 4 * 4, 4);
      else memcpy(to, row[l % 4 * 2] + l / 4 * 2, 2), memcpy(to + 2, row[l % 4 * 2 + 1] + l / 4 * 2, 2);
    }
  }
}

void matrix_load(uint32_t* to, unsigned matrices, bool transposed, const void* row, Site site) {
  static const Fold folds[2][3] = {{load_matrices<1, false>, load_matrices<2, false>, load_matrices<4, false>},
                                   {load_matrices<1, true>, load_matrices<2, true>, load_matrices<4, true>}};
  // Lanes beyond the matrices' rows give addresses that are not used.
  if (EMULATION_CHECKED && me->lane < matrices * 8) touch(row, 16, false, site);
  const unsigned turn = gather(~0u, &row, sizeof row, "ldmatrix", site, folds[transposed][matrices / 2], false);
  memcpy(to, block.warp[me->warp].made[turn][me->lane], 4 * matrices);
}

static inline float widen_bf16(uint32_t bits) { bits <<= 16; float f; memcpy(&f, &bits, 4); return f; }
static inline float widen_half(uint32_t h) {
  const uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
  if (exponent == 0) { const float f = (float)fraction * 0x1p-24f; return sign ? -f : f; }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

struct Fragments { uint32_t a[4], b[2]; float d[4]; };

// In f32, k ascending. A tensor core sums in another order and cuts where this rounds: within the tolerance of a test,
// not to the bit.
template <bool kHalf> static void multiply(Warp& warp, unsigned turn) {
  float a[16][16], b[16][8], d[16][8];
  auto widen = [](uint32_t bits) { return kHalf ? widen_half(bits & 0xffff) : widen_bf16(bits & 0xffff); };
  for (unsigned l = 0; l < 32; ++l) {
    Fragments f;
    memcpy(&f, warp.given[turn][l], sizeof f);
    const unsigned g = l / 4, t = l % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned r = g + (i & 1) * 8, k = t + (i >> 1) * 8;
      a[r][k] = widen(f.a[i]), a[r][k + 1] = widen(f.a[i] >> 16);
      d[g + (i >> 1) * 8][t + (i & 1)] = f.d[i];
    }
    for (unsigned i = 0; i < 2; ++i) b[t + i * 8][g] = widen(f.b[i]), b[t + i * 8 + 1][g] = widen(f.b[i] >> 16);
  }
  for (unsigned r = 0; r < 16; ++r)
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned n = 0; n < 8; ++n) d[r][n] += a[r][k] * b[k][n];
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned g = l / 4, t = l % 4 * 2;
    const float out[4] = {d[g][t], d[g][t + 1], d[g + 8][t], d[g + 8][t + 1]};
    memcpy(warp.made[turn][l], out, 16);
  }
}

void matrix_multiply(float* d, const uint32_t* a, const uint32_t* b, bool half, Site site) {
  Fragments f;
  memcpy(f.a, a, 16), memcpy(f.b, b, 8), memcpy(f.d, d, 16);
  ++counts.multiplies;
  const unsigned turn = gather(~0u, &f, sizeof f, "mma", site, half ? multiply<true> : multiply<false>, false);
  memcpy(d, block.warp[me->warp].made[turn][me->lane], 16);
}

}  // namespace emulation
