// What the lanes of a warp do together.
#include <bit>

#include "kernel.h"

namespace interpreter {
namespace {

using Forms = std::map<std::string, Form, std::less<>>;

// Which lane a lane hears, and whether that is within its segment; if not it hears itself. `bounds` is as instructions have
// it: the segment's mask above, its last lane below.
enum Way { kUp, kDown, kCross, kFrom };
template <Way way> std::pair<unsigned, bool> heard(unsigned lane, uint32_t by, uint32_t bounds) {
  by &= 31;
  const unsigned segment = bounds >> 8 & 31, last = (lane & segment) | (bounds & 31 & ~segment);
  if constexpr (way == kUp) return {lane - by, (int)(lane - by) >= (int)last};
  const unsigned other = way == kDown ? lane + by : way == kCross ? lane ^ by : (lane & segment) | (by & ~segment);
  return {other, other <= last};
}
template <Way way, bool tells> void shuffle(Warp& w, const Instruction& i, Lanes on) {
  const unsigned a = tells ? 2 : 1;
  uint32_t values[kLanes];
  memcpy(values, w.lanes<uint32_t>(i.at[a]), sizeof values);
  Lanes within = 0;
  uint32_t made[kLanes];
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    auto [from, is_within] = heard<way>(l, w.lanes<uint32_t>(i.at[a + 1])[l], w.lanes<uint32_t>(i.at[a + 2])[l]);
    if (!is_within) from = l;
    if (!(on >> from & 1)) fault("lane %u hears lane %u, which is not there", l, from);
    made[l] = values[from], within |= (Lanes)is_within << l;
  }
  for (unsigned l = 0; l < kLanes; ++l) if (on >> l & 1) w.lanes<uint32_t>(i.at[0])[l] = made[l];
  if constexpr (tells) w.predicate(i.at[1]) = (w.predicate(i.at[1]) & ~on) | within;
}

void ballot(Warp& w, const Instruction& i, Lanes on) {
  const Lanes yes = w.predicate(i.at[1]) & on;
  for (unsigned l = 0; l < kLanes; ++l) if (on >> l & 1) w.lanes<uint32_t>(i.at[0])[l] = yes;
}
void meet(Warp&, const Instruction&, Lanes) {}

// `n` matrices of 8 rows of 16 bytes, whose addresses lanes 8 m to 8 m + 7 give: lane l gets the pair of row l / 4, columns
// l % 4 * 2; transposed, of column l / 4, those rows.
template <unsigned n, bool transposed> void matrix_load(Warp& w, const Instruction& i, Lanes) {
  for (unsigned m = 0; m < n; ++m) {
    uint16_t rows[8][8];
    for (unsigned r = 0; r < 8; ++r) memcpy(rows[r], window(w, w.lanes<uint32_t>(i.at[n])[8 * m + r] + (uint32_t)i.offset, 16), 16);
    for (unsigned l = 0; l < kLanes; ++l) {
      const unsigned one = l / 4, two = l % 4 * 2;
      const uint16_t low = transposed ? rows[two][one] : rows[one][two], high = transposed ? rows[two + 1][one] : rows[one][two + 1];
      w.lanes<uint32_t>(i.at[m])[l] = low | (uint32_t)high << 16;
    }
  }
}

float of_bf16(uint16_t a) { return std::bit_cast<float>((uint32_t)a << 16); }
float of_f16(uint16_t a) { return (float)std::bit_cast<_Float16>(a); }

// d[16, 8] = a[16, 16] b[16, 8] + c[16, 8]; sums in f32 with k ascending.
template <float (*of)(uint16_t)> void matrix_multiply(Warp& w, const Instruction& i, Lanes) {
  float a[16][16], b[16][8], d[16][8];
  const auto halves = [&](unsigned operand, unsigned l, float& low, float& high) {
    const uint32_t pair = w.lanes<uint32_t>(i.at[operand])[l];
    low = of((uint16_t)pair), high = of((uint16_t)(pair >> 16));
  };
  for (unsigned l = 0; l < kLanes; ++l) {
    const unsigned g = l / 4, t = l % 4 * 2;
    halves(4, l, a[g][t], a[g][t + 1]), halves(5, l, a[g + 8][t], a[g + 8][t + 1]);
    halves(6, l, a[g][t + 8], a[g][t + 9]), halves(7, l, a[g + 8][t + 8], a[g + 8][t + 9]);
    halves(8, l, b[t][g], b[t + 1][g]), halves(9, l, b[t + 8][g], b[t + 9][g]);
    for (unsigned n = 0; n < 4; ++n) d[g + n / 2 * 8][t + n % 2] = w.lanes<float>(i.at[10 + n])[l];
  }
  for (unsigned r = 0; r < 16; ++r)
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned c = 0; c < 8; ++c) d[r][c] += a[r][k] * b[k][c];
  for (unsigned l = 0; l < kLanes; ++l)
    for (unsigned n = 0; n < 4; ++n) w.lanes<float>(i.at[n])[l] = d[l / 4 + n / 2 * 8][l % 4 * 2 + n % 2];
}

template <Way way> void add_shuffle(Forms& forms, const std::string& word) {
  forms["shfl.sync." + word + ".b32"] = {shuffle<way, false>, {4, 4, 4, 4, 4}, Instruction::kTogether};
  forms["shfl.sync." + word + ".b32/told"] = {shuffle<way, true>, {4, kPredicate, 4, 4, 4, 4}, Instruction::kTogether};
}
template <unsigned n> void add_matrix_loads(Forms& forms) {
  const std::string word = "ldmatrix.sync.aligned.m8n8.x" + std::to_string(n);
  forms[word + ".shared.b16"] = {matrix_load<n, false>, std::vector<uint8_t>(n + 1, 4), Instruction::kTogether, true};
  forms[word + ".trans.shared.b16"] = {matrix_load<n, true>, std::vector<uint8_t>(n + 1, 4), Instruction::kTogether, true};
}

}  // namespace

void add_together(Forms& forms) {
  add_shuffle<kUp>(forms, "up"), add_shuffle<kDown>(forms, "down"), add_shuffle<kCross>(forms, "bfly"), add_shuffle<kFrom>(forms, "idx");
  forms["vote.sync.ballot.b32"] = {ballot, {4, kPredicate, 4}, Instruction::kTogether};
  forms["bar.warp.sync"] = {meet, {4}, Instruction::kTogether};
  forms["bar.sync"] = {meet, {4}, Instruction::kBarrier};
  add_matrix_loads<1>(forms), add_matrix_loads<2>(forms), add_matrix_loads<4>(forms);
  const std::vector<uint8_t> four_four_two_four(14, 4);
  forms["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"] = {matrix_multiply<of_bf16>, four_four_two_four, Instruction::kTogether, true};
  forms["mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"] = {matrix_multiply<of_f16>, four_four_two_four, Instruction::kTogether, true};
}

}  // namespace interpreter
