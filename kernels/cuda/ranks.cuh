// The order of a row's tokens by rank, and a place in it: found without sorting a vocabulary.
//
// For a whole block. Tiles whose greatest logit is too low are passed over, so that a search among the most probable tokens reads
// few of them.
#pragma once
#include "sampling.cuh"

// A token's place in rank: keys ascend as logits fall, and among equal logits as tokens rise.
using Key = unsigned long long;
constexpr Key kLast = 0xff800000ffffffffu;  // after every token

static __device__ __forceinline__ Key key_of(float logit, uint32_t token) {
  // Zero has two signs and one rank. Bits of positive numbers rise with them, those of negative ones fall.
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return (Key)(bits >> 31 ? bits : 0x7fffffffu - bits) << 32 | token;
}
static __device__ __forceinline__ float logit_of(Key key) {
  const uint32_t falling = (uint32_t)(key >> 32);
  return __uint_as_float(falling >> 31 ? falling : 0x7fffffffu - falling);
}

// A row of logits, and the greatest of each tile and of all.
struct Row {
  const float* logits;
  const float* peaks;
  int width, tiles;
  float peak;
};

// How logits become weights, and which tokens keep theirs: up to a key, and not below a logarithm.
struct Scale {
  float peak, inverse_temperature, floor;
  Key until;

  __device__ __forceinline__ Whole weight(float logit, uint32_t token) const {
    const float power = (logit - peak) * inverse_temperature;
    return power < floor || key_of(logit, token) > until ? 0 : whole_exp(power);
  }
};

// Tokens that are sorted at once.
constexpr int kBand = 128;

// Shared memory of a block.
struct Room {
  Whole part[32];
  Key band[kBand], sorted[kBand];
  Key key;
  uint32_t count, token;
  float near;
};

// Calls `work(token, logits, count)` for vectors of tiles with a logit of `least` or more. Whole warps go together.
template <class Work> static __device__ __forceinline__ void each_vector(const Row& row, float least, Work work) {
  for (int first = threadIdx.x / 32 * 32 * kVector; first < row.width; first += blockDim.x * kVector) {
    if (row.peaks[first / kTileTokens] < least) continue;
    const int token = first + threadIdx.x % 32 * kVector;
    float logits[kVector];
    load_logits(row.logits + token, row.width - token, logits);
    work(token, logits, min(kVector, row.width - token));
  }
}

// How many tokens there are up to a key, and their weights.
struct Mass {
  uint32_t count;
  Whole weight;
};
template <bool kWeigh> static __device__ Mass mass_until(const Row& row, Key until, const Scale& scale, Room& room) {
  Mass mass = {};
  each_vector(row, logit_of(until), [&](int token, const float(&logits)[kVector], int count) {
    UNROLL
    for (int i = 0; i < kVector; ++i)
      if (i < count && key_of(logits[i], token + i) <= until) {
        mass.count += 1;
        if (kWeigh) mass.weight += scale.weight(logits[i], token + i);
      }
  });
  mass.count = block_sum(mass.count, room.part);
  if (kWeigh) mass.weight = block_sum(mass.weight, room.part);
  return mass;
}

// The key of a tile's greatest logit below which at least `count` tokens are; of the last tile's where there are fewer tiles.
static __device__ Key near_key(const Row& row, uint32_t count, Room& room) {
  const uint32_t wanted = min(count, (uint32_t)row.tiles) - 1;
  __syncthreads();
  for (int tile = threadIdx.x; tile < row.tiles; tile += blockDim.x) {
    uint32_t rank = 0;
    for (int other = 0; other < row.tiles; ++other) rank += row.peaks[other] > row.peaks[tile] || (row.peaks[other] == row.peaks[tile] && other < tile);
    if (rank == wanted) room.near = row.peaks[tile];
  }
  __syncthreads();
  return key_of(room.near, 0xffffffffu);
}

// Few tokens in one run of ranks, `after < key <= until`, among which is the first that reaches; and the mass before them.
struct Band {
  Key after, until;
  Mass before;
};

// `near` is tried first; then what is left is halved.
template <bool kWeigh, class Reaches> static __device__ Band narrow(const Row& row, Key near, const Scale& scale, Room& room, Reaches reaches) {
  Band band = {key_of(row.peak, 0) - 1, kLast, {}};
  uint32_t up_to = row.width;
  for (Key middle = near; up_to - band.before.count > kBand; middle = band.after + (band.until - band.after) / 2) {
    const Mass mass = mass_until<kWeigh>(row, middle, scale, room);
    if (reaches(mass))
      band.until = middle, up_to = mass.count;
    else
      band.after = middle, band.before = mass;
  }
  return band;
}

// A band's tokens in order, in `room.sorted`; returns how many they are.
static __device__ uint32_t sort(const Row& row, const Band& band, Room& room) {
  __syncthreads();
  if (threadIdx.x == 0) room.count = 0;
  __syncthreads();
  each_vector(row, logit_of(band.until), [&](int token, const float(&logits)[kVector], int count) {
    for (int i = 0; i < count; ++i) {
      const Key key = key_of(logits[i], token + i);
      if (key > band.after && key <= band.until) room.band[atomicAdd(&room.count, 1u)] = key;
    }
  });
  __syncthreads();
  // Keys are few and no two are alike: each counts those before it.
  const uint32_t count = room.count;
  for (uint32_t own = threadIdx.x; own < count; own += blockDim.x) {
    uint32_t rank = 0;
    for (uint32_t other = 0; other < count; ++other) rank += room.band[other] < room.band[own];
    room.sorted[rank] = room.band[own];
  }
  __syncthreads();
  return count;
}

// The `count`th token in rank; where there are fewer, after every token.
static __device__ Key nth(const Row& row, uint32_t count, Room& room) {
  if (count >= (uint32_t)row.width) return kLast;
  const Band band = narrow<false>(row, near_key(row, count, room), {}, room, [&](const Mass& mass) { return mass.count >= count; });
  sort(row, band, room);
  return room.sorted[count - band.before.count - 1];
}

// Where a running sum first passes, and the sum before it; there must be such a place. For a whole warp: lanes have neighbouring
// values, so that sums are over lanes first.
struct Place {
  uint32_t at;
  Whole before;
};
template <class Value, class Passes> static __device__ Place first_passing(uint32_t count, Whole before, Value value, Passes passes) {
  const uint32_t lane = threadIdx.x % 32, each = (count + 31) / 32, from = min(lane * each, count), to = min(from + each, count);
  Whole own = 0;
  for (uint32_t i = from; i < to; ++i) own += value(i);
  Whole up_to = own;
  for (uint32_t other = 1; other < 32; other *= 2) {
    const Whole left = __shfl_up_sync(0xffffffffu, up_to, other);
    if (lane >= other) up_to += left;
  }
  const int first = __ffs(__ballot_sync(0xffffffffu, passes(before + up_to))) - 1;
  Place place = {from, before + up_to - own};
  if ((int)lane == first)
    for (Whole next; !passes(next = place.before + value(place.at)); ++place.at) place.before = next;
  return {__shfl_sync(0xffffffffu, place.at, first), __shfl_sync(0xffffffffu, place.before, first)};
}

// The token with which the sum of weights, in order of rank, reaches a share of all. The comparison is in f32, where the share was
// given: a tenth of ten equal weights is one of them.
static __device__ Key reaching(const Row& row, const Scale& scale, float share, Room& room) {
  constexpr uint32_t kNear = 64;  // how far most rows need to be looked at
  const float least = share * (float)mass_until<true>(row, scale.until, scale, room).weight;
  auto reaches = [&](Whole weight) { return (float)weight >= least; };
  const Band band = narrow<true>(row, near_key(row, kNear, room), scale, room, [&](const Mass& mass) { return reaches(mass.weight); });
  const uint32_t count = sort(row, band, room);
  if (threadIdx.x < 32) {
    auto weight = [&](uint32_t i) { return scale.weight(logit_of(room.sorted[i]), (uint32_t)room.sorted[i]); };
    const Place place = first_passing(count, band.before.weight, weight, reaches);
    if (threadIdx.x == 0) room.key = room.sorted[place.at];
  }
  __syncthreads();
  return room.key;
}
