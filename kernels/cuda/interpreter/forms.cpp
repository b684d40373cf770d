// What instructions compute, lane by lane: a function for each opcode that nvcc has made of our kernels.
//
// Rounding is the instruction's: to nearest even where it says `.rn`, with `fma` rounded once. Approximations (`.approx`) are as
// exact as the host's, so that their last bits may differ from a GPU's. Denormal values are kept, but by `.ftz`.
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernel.h"

namespace interpreter {
namespace {

using Forms = std::map<std::string, Form, std::less<>>;
using std::string;

// ---- walks over lanes

template <auto f, class To, class... From, size_t... n>
void each_of(Warp& w, const Instruction& i, Lanes on, std::index_sequence<n...>) {
  To* const to = w.lanes<To>(i.at[0]);
  [=](const From*... from) {
    if (on == kAll) {
#pragma GCC ivdep
      for (unsigned l = 0; l < kLanes; ++l) to[l] = f(from[l]...);
    } else {
      for (unsigned l = 0; l < kLanes; ++l) if (on >> l & 1) to[l] = f(from[l]...);
    }
  }(w.lanes<const From>(i.at[1 + n])...);
}
template <auto f, class To, class... From> void each(Warp& w, const Instruction& i, Lanes on) {
  each_of<f, To, From...>(w, i, on, std::index_sequence_for<From...>());
}

// Comparisons: their lanes' answers are a predicate's bits.
template <auto f, class From> void each_test(Warp& w, const Instruction& i, Lanes on) {
  const From *a = w.lanes<const From>(i.at[1]), *b = w.lanes<const From>(i.at[2]);
  alignas(8) uint8_t are[kLanes];
#pragma GCC ivdep
  for (unsigned l = 0; l < kLanes; ++l) are[l] = f(a[l], b[l]);
  Lanes yes = 0;
  for (unsigned l = 0; l < kLanes; l += 8) {
    uint64_t eight;
    memcpy(&eight, are + l, 8);
    yes |= (Lanes)(eight * 0x0102040810204080 >> 56) << l;
  }
  Lanes& to = w.predicate(i.at[0]);
  to = (to & ~on) | (yes & on);
}

template <class T> void each_choice(Warp& w, const Instruction& i, Lanes on) {
  T* const to = w.lanes<T>(i.at[0]);
  const T *a = w.lanes<const T>(i.at[1]), *b = w.lanes<const T>(i.at[2]);
  const Lanes yes = w.predicate(i.at[3]);
#pragma GCC ivdep
  for (unsigned l = 0; l < kLanes; ++l) to[l] = !(on >> l & 1) ? to[l] : yes >> l & 1 ? a[l] : b[l];
}

template <auto f> void each_predicate(Warp& w, const Instruction& i, Lanes on) {
  Lanes& to = w.predicate(i.at[0]);
  const Lanes made = f(w.predicate(i.at[1]), w.predicate(i.at[i.count - 1]));
  to = (to & ~on) | (made & on);
}

template <auto f, class To, class... From> void add(Forms& forms, const string& word) {
  forms[word] = {each<f, To, From...>, {(uint8_t)sizeof(To), (uint8_t)sizeof(From)...}};
}

// ---- whole numbers

template <class T> using Unsigned = std::make_unsigned_t<T>;
// Twice as wide, of the same kind.
template <class T> struct Wider;
template <> struct Wider<int16_t> { using Type = int32_t; };
template <> struct Wider<uint16_t> { using Type = uint32_t; };
template <> struct Wider<int32_t> { using Type = int64_t; };
template <> struct Wider<uint32_t> { using Type = uint64_t; };
template <> struct Wider<int64_t> { using Type = __int128; };
template <> struct Wider<uint64_t> { using Type = unsigned __int128; };
template <class T> using Wide = typename Wider<T>::Type;
template <class T> constexpr unsigned kBits = 8 * sizeof(T);

// Sums and products wrap.
template <class T> T sum(T a, T b) { return (T)((Unsigned<T>)a + (Unsigned<T>)b); }
template <class T> T product(T a, T b) { return (T)((uint64_t)a * (uint64_t)b); }

template <class T> void add_whole(Forms& forms, const string& type) {
  using U = Unsigned<T>;
  add<[](T a, T b) { return sum(a, b); }, T, T, T>(forms, "add." + type);
  add<[](T a, T b) { return (T)((U)a - (U)b); }, T, T, T>(forms, "sub." + type);
  add<[](T a, T b) { return product(a, b); }, T, T, T>(forms, "mul.lo." + type);
  add<[](T a, T b) { return (T)((Wide<T>)a * (Wide<T>)b >> kBits<T>); }, T, T, T>(forms, "mul.hi." + type);
  add<[](T a, T b, T c) { return sum(product(a, b), c); }, T, T, T, T>(forms, "mad.lo." + type);
  // By zero a GPU divides too, and says all ones.
  add<[](T a, T b) { return b == 0 ? (T)-1 : b == (T)-1 && std::is_signed_v<T> ? (T)(0 - (U)a) : (T)(a / b); }, T, T, T>(forms, "div." + type);
  add<[](T a, T b) { return b == 0 ? a : b == (T)-1 && std::is_signed_v<T> ? (T)0 : (T)(a % b); }, T, T, T>(forms, "rem." + type);
  add<[](T a, T b) { return a < b ? a : b; }, T, T, T>(forms, "min." + type);
  add<[](T a, T b) { return b < a ? a : b; }, T, T, T>(forms, "max." + type);
  add<[](T a, uint32_t by) { return (T)(a >> (by < kBits<T> ? by : kBits<T> - 1)); }, T, T, uint32_t>(forms, "shr." + type);
  if constexpr (std::is_unsigned_v<T>)
    add<[](T a, uint32_t by) { return by < kBits<T> ? (T)(a >> by) : (T)0; }, T, T, uint32_t>(forms, "shr." + type);
  if constexpr (std::is_signed_v<T>) {
    add<[](T a) { return (T)(0 - (U)a); }, T, T>(forms, "neg." + type);
    add<[](T a) { return a < 0 ? (T)(0 - (U)a) : a; }, T, T>(forms, "abs." + type);
  }
  if constexpr (sizeof(T) < 8) {
    add<[](T a, T b) { return (Wide<T>)((Wide<T>)a * (Wide<T>)b); }, Wide<T>, T, T>(forms, "mul.wide." + type);
    add<[](T a, T b, Wide<T> c) { return sum((Wide<T>)((Wide<T>)a * (Wide<T>)b), c); }, Wide<T>, T, T, Wide<T>>(forms, "mad.wide." + type);
  }
}

template <class T> void add_bits(Forms& forms, const string& type) {
  add<[](T a, T b) { return (T)(a & b); }, T, T, T>(forms, "and." + type);
  add<[](T a, T b) { return (T)(a | b); }, T, T, T>(forms, "or." + type);
  add<[](T a, T b) { return (T)(a ^ b); }, T, T, T>(forms, "xor." + type);
  add<[](T a) { return (T)~a; }, T, T>(forms, "not." + type);
  add<[](T a, uint32_t by) { return by < kBits<T> ? (T)(a << by) : (T)0; }, T, T, uint32_t>(forms, "shl." + type);
  if constexpr (sizeof(T) >= 4)
    add<[](T a, T b, uint32_t at, uint32_t bits) {
      at &= 255, bits &= 255;
      if (at >= kBits<T> || !bits) return b;
      const T ones = (bits < kBits<T> ? ((T)1 << bits) - 1 : (T)-1) << at;
      return (T)((b & ~ones) | (a << at & ones));
    }, T, T, T, uint32_t, uint32_t>(forms, "bfi." + type);
}

// ---- numbers with a point

template <class T> T less(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a < b || (a == b && std::signbit(a)) ? a : b;
}
template <class T> T more(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a > b || (a == b && !std::signbit(a)) ? a : b;
}
float flushed(float a) { return std::fabs(a) < std::numeric_limits<float>::min() ? std::copysign(0.0f, a) : a; }

// a b + c rounded down. The product is whole in f64, and what their sum loses is known, so that both say on which side it lies.
float fma_down(float a, float b, float c) {
  const double p = (double)a * b, s = p + c;
  if (!std::isfinite(s)) return std::fma(a, b, c);
  const double back = s - p, lost = (p - (s - back)) + (c - back);
  const float near = (float)s;
  const double over = near - s;
  return over > 0 || (over == 0 && lost < 0) ? std::nextafter(near, -std::numeric_limits<float>::infinity()) : near;
}

template <class T> void add_real(Forms& forms, const string& type) {
  for (const string& word : {"add." + type, "add.rn." + type}) add<[](T a, T b) { return a + b; }, T, T, T>(forms, word);
  for (const string& word : {"sub." + type, "sub.rn." + type}) add<[](T a, T b) { return a - b; }, T, T, T>(forms, word);
  for (const string& word : {"mul." + type, "mul.rn." + type}) add<[](T a, T b) { return a * b; }, T, T, T>(forms, word);
  add<[](T a, T b, T c) { return std::fma(a, b, c); }, T, T, T, T>(forms, "fma.rn." + type);
  add<[](T a, T b) { return a / b; }, T, T, T>(forms, "div.rn." + type);
  add<[](T a) { return 1 / a; }, T, T>(forms, "rcp.rn." + type);
  add<[](T a) { return std::sqrt(a); }, T, T>(forms, "sqrt.rn." + type);
  add<[](T a) { return -a; }, T, T>(forms, "neg." + type);
  add<[](T a) { return std::fabs(a); }, T, T>(forms, "abs." + type);
  add<[](T a, T b) { return less(a, b); }, T, T, T>(forms, "min." + type);
  add<[](T a, T b) { return more(a, b); }, T, T, T>(forms, "max." + type);
  // The sign is the first one's.
  add<[](T a, T b) { return std::copysign(b, a); }, T, T, T>(forms, "copysign." + type);
}

// Which of f32's values bf16 has: nearest, to even.
uint16_t to_bf16(float a) {
  const uint32_t bits = std::bit_cast<uint32_t>(a);
  return a != a ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
uint16_t to_f16(float a) { return a != a ? 0x7fff : std::bit_cast<uint16_t>((_Float16)a); }
// Toward zero, and to the nearest that the type has; NaN is 0.
template <class To, class From> To whole_part(From a) {
  if (a != a) return 0;
  const From t = std::trunc(a);
  if (t <= (From)std::numeric_limits<To>::min()) return std::numeric_limits<To>::min();
  return t >= std::ldexp((From)1, std::numeric_limits<To>::digits) ? std::numeric_limits<To>::max() : (To)t;
}

template <class From, class To> void add_whole_to(Forms& forms, const string& to, const string& from) {
  add<[](From a) { return (To)a; }, To, From>(forms, "cvt." + to + "." + from);
}
template <class T> void add_conversions(Forms& forms, const string& type) {
  add_whole_to<T, int16_t>(forms, "s16", type), add_whole_to<T, uint16_t>(forms, "u16", type);
  add_whole_to<T, int32_t>(forms, "s32", type), add_whole_to<T, uint32_t>(forms, "u32", type);
  add_whole_to<T, int64_t>(forms, "s64", type), add_whole_to<T, uint64_t>(forms, "u64", type);
  add_whole_to<T, float>(forms, "rn.f32", type), add_whole_to<T, double>(forms, "rn.f64", type);
  add<[](float a) { return whole_part<T>(a); }, T, float>(forms, "cvt.rzi." + type + ".f32");
  add<[](double a) { return whole_part<T>(a); }, T, double>(forms, "cvt.rzi." + type + ".f64");
}

// ---- comparisons

template <auto f, class T> void add_test(Forms& forms, const string& word) { forms[word] = {each_test<f, T>, {kPredicate, sizeof(T), sizeof(T)}}; }
template <class T> void add_tests(Forms& forms, const string& type) {
  add_test<[](T a, T b) { return a == b; }, T>(forms, "setp.eq." + type);
  add_test<[](T a, T b) { return a < b; }, T>(forms, "setp.lt." + type);
  add_test<[](T a, T b) { return a <= b; }, T>(forms, "setp.le." + type);
  add_test<[](T a, T b) { return b < a; }, T>(forms, "setp.gt." + type);
  add_test<[](T a, T b) { return b <= a; }, T>(forms, "setp.ge." + type);
  if constexpr (std::is_integral_v<T>) {
    add_test<[](T a, T b) { return a != b; }, T>(forms, "setp.ne." + type);
  } else {
    // `u`: true where one is no number.
    add_test<[](T a, T b) { return a < b || b < a; }, T>(forms, "setp.ne." + type);
    add_test<[](T a, T b) { return !(a < b || b < a); }, T>(forms, "setp.equ." + type);
    add_test<[](T a, T b) { return a != b; }, T>(forms, "setp.neu." + type);
    add_test<[](T a, T b) { return !(b <= a); }, T>(forms, "setp.ltu." + type);
    add_test<[](T a, T b) { return !(b < a); }, T>(forms, "setp.leu." + type);
    add_test<[](T a, T b) { return !(a <= b); }, T>(forms, "setp.gtu." + type);
    add_test<[](T a, T b) { return !(a < b); }, T>(forms, "setp.geu." + type);
    add_test<[](T a, T b) { return a == a && b == b; }, T>(forms, "setp.num." + type);
    add_test<[](T a, T b) { return a != a || b != b; }, T>(forms, "setp.nan." + type);
  }
}

template <class T> void add_copies(Forms& forms, const string& type) {
  add<[](T a) { return a; }, T, T>(forms, "mov." + type);
  forms["selp." + type] = {each_choice<T>, {sizeof(T), sizeof(T), sizeof(T), kPredicate}};
}

// Bytes of two words, chosen by four digits; an eighth bit repeats the byte's sign.
uint32_t permuted(uint32_t a, uint32_t b, uint32_t digits) {
  const uint64_t both = (uint64_t)b << 32 | a;
  uint32_t made = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const unsigned digit = digits >> 4 * n & 15;
    const uint8_t byte = (uint8_t)(both >> 8 * (digit & 7));
    made |= (uint32_t)(digit & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * n;
  }
  return made;
}
uint32_t reversed(uint32_t a) {
  uint32_t made = 0;
  for (unsigned n = 0; n < 32; ++n) made |= (a >> n & 1) << (31 - n);
  return made;
}

Forms all() {
  Forms forms;
  add_whole<int16_t>(forms, "s16"), add_whole<uint16_t>(forms, "u16"), add_whole<int32_t>(forms, "s32");
  add_whole<uint32_t>(forms, "u32"), add_whole<int64_t>(forms, "s64"), add_whole<uint64_t>(forms, "u64");
  add_bits<uint16_t>(forms, "b16"), add_bits<uint32_t>(forms, "b32"), add_bits<uint64_t>(forms, "b64");
  add_real<float>(forms, "f32"), add_real<double>(forms, "f64");

  add_tests<int16_t>(forms, "s16"), add_tests<int32_t>(forms, "s32"), add_tests<int64_t>(forms, "s64");
  for (const char* type : {"u16", "b16"}) add_tests<uint16_t>(forms, type), add_copies<uint16_t>(forms, type);
  for (const char* type : {"u32", "b32"}) add_tests<uint32_t>(forms, type), add_copies<uint32_t>(forms, type);
  for (const char* type : {"u64", "b64"}) add_tests<uint64_t>(forms, type), add_copies<uint64_t>(forms, type);
  add_tests<float>(forms, "f32"), add_tests<double>(forms, "f64");
  for (const char* type : {"s16"}) add_copies<uint16_t>(forms, type);
  for (const char* type : {"s32", "f32"}) add_copies<uint32_t>(forms, type);
  for (const char* type : {"s64", "f64"}) add_copies<uint64_t>(forms, type);

  add_conversions<int16_t>(forms, "s16"), add_conversions<uint16_t>(forms, "u16"), add_conversions<int32_t>(forms, "s32");
  add_conversions<uint32_t>(forms, "u32"), add_conversions<int64_t>(forms, "s64"), add_conversions<uint64_t>(forms, "u64");
  add<[](float a) { return (double)a; }, double, float>(forms, "cvt.f64.f32");
  add<[](double a) { return (float)a; }, float, double>(forms, "cvt.rn.f32.f64");
  add<[](float a) { return std::trunc(a); }, float, float>(forms, "cvt.rzi.f32.f32");
  add<[](float a) { return 0 < a ? (a < 1 ? a : 1.0f) : 0.0f; }, float, float>(forms, "cvt.sat.f32.f32");
  add<[](float a) { return to_bf16(a); }, uint16_t, float>(forms, "cvt.rn.bf16.f32");
  add<[](float a) { return to_f16(a); }, uint16_t, float>(forms, "cvt.rn.f16.f32");
  add<[](uint16_t a) { return std::bit_cast<float>((uint32_t)a << 16); }, float, uint16_t>(forms, "cvt.f32.bf16");
  add<[](uint16_t a) { return (float)std::bit_cast<_Float16>(a); }, float, uint16_t>(forms, "cvt.f32.f16");

  add<[](float a, float b, float c) { return fma_down(a, b, c); }, float, float, float, float>(forms, "fma.rm.f32");
  add<[](float a) { return flushed(std::exp2(flushed(a))); }, float, float>(forms, "ex2.approx.ftz.f32");
  add<[](float a) { return flushed(1 / flushed(a)); }, float, float>(forms, "rcp.approx.ftz.f32");
  // The lower half of its bits is zero.
  add<[](double a) { return std::bit_cast<double>(std::bit_cast<uint64_t>(1 / a) >> 32 << 32); }, double, double>(forms, "rcp.approx.ftz.f64");

  add<permuted, uint32_t, uint32_t, uint32_t, uint32_t>(forms, "prmt.b32");
  add<reversed, uint32_t, uint32_t>(forms, "brev.b32");
  add<[](uint32_t a) { return a ? (uint32_t)std::countl_zero(a) : kAll; }, uint32_t, uint32_t>(forms, "bfind.shiftamt.u32");
  add<[](uint32_t a) { return (uint32_t)std::popcount(a); }, uint32_t, uint32_t>(forms, "popc.b32");

  const auto predicates = [&](const char* word, auto perform, std::vector<uint8_t> operands) { forms[word] = {perform, operands}; };
  predicates("and.pred", each_predicate<[](Lanes a, Lanes b) { return a & b; }>, {kPredicate, kPredicate, kPredicate});
  predicates("or.pred", each_predicate<[](Lanes a, Lanes b) { return a | b; }>, {kPredicate, kPredicate, kPredicate});
  predicates("xor.pred", each_predicate<[](Lanes a, Lanes b) { return a ^ b; }>, {kPredicate, kPredicate, kPredicate});
  predicates("not.pred", each_predicate<[](Lanes a, Lanes) { return ~a; }>, {kPredicate, kPredicate});
  predicates("mov.pred", each_predicate<[](Lanes a, Lanes) { return a; }>, {kPredicate, kPredicate});

  forms["bra"] = forms["bra.uni"] = {nullptr, {}, Instruction::kBranch};
  forms["ret"] = forms["exit"] = {nullptr, {}, Instruction::kReturn};
  forms["trap"] = {nullptr, {}, Instruction::kTrap};
  add_moves(forms);
  add_together(forms);
  return forms;
}

}  // namespace

const Form* form(std::string_view word) {
  static const Forms forms = all();
  const auto found = forms.find(word);
  return found == forms.end() ? nullptr : &found->second;
}

}  // namespace interpreter
