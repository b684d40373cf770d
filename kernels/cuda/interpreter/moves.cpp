// What moves between registers, shared memory and memory.
#include <algorithm>

#include "kernel.h"

namespace interpreter {
namespace {

using Forms = std::map<std::string, Form, std::less<>>;
using std::string;

enum Space { kShared, kAnywhere };

template <Space space> unsigned char* place(Warp& w, uint64_t at, uint32_t bytes) {
  if constexpr (space == kShared) return window(w, (uint32_t)at, bytes);
  else return anywhere(at, bytes);
}

// ---- loads and stores: `n` values of T, each in a register as wide as R, at an address as wide as Base

template <Space space, class Base, class T, class R, unsigned n> void load(Warp& w, const Instruction& i, Lanes on) {
  const Base* base = w.lanes<const Base>(i.at[n]);
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    const unsigned char* from = place<space>(w, base[l] + i.offset, n * sizeof(T));
    for (unsigned k = 0; k < n; ++k) {
      T value;
      memcpy(&value, from + k * sizeof(T), sizeof value);
      w.lanes<R>(i.at[k])[l] = (R)value;
    }
  }
}
template <Space space, class Base, class T, class R, unsigned n> void store(Warp& w, const Instruction& i, Lanes on) {
  const Base* base = w.lanes<const Base>(i.at[0]);
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    unsigned char* to = place<space>(w, base[l] + i.offset, n * sizeof(T));
    for (unsigned k = 0; k < n; ++k) {
      const T value = (T)w.lanes<R>(i.at[1 + k])[l];
      memcpy(to + k * sizeof(T), &value, sizeof value);
    }
  }
}

template <Space space, class Base, class T, class R, unsigned n> void add_accesses(Forms& forms, const string& where, const string& type) {
  const string vector = n == 1 ? "" : ".v" + std::to_string(n);
  const string key = where + vector + "." + type + "/" + std::to_string(sizeof(R)) + "/" + std::to_string(sizeof(Base));
  std::vector<uint8_t> loaded(n, sizeof(R)), stored(n, sizeof(R));
  loaded.push_back(sizeof(Base)), stored.insert(stored.begin(), sizeof(Base));
  forms["ld." + key] = {load<space, Base, T, R, n>, loaded};
  forms["st." + key] = {store<space, Base, T, R, n>, stored};
}
template <Space space, class Base, class T, class R> void add_vectors(Forms& forms, const string& where, const string& type) {
  add_accesses<space, Base, T, R, 1>(forms, where, type);
  add_accesses<space, Base, T, R, 2>(forms, where, type);
  add_accesses<space, Base, T, R, 4>(forms, where, type);
}
// A register may be wider than what it takes; a sign goes along.
template <Space space, class Base> void add_space(Forms& forms, const string& where) {
  const auto small = [&]<class T, class Signed>(const string& u, const string& s, T, Signed) {
    add_vectors<space, Base, T, uint16_t>(forms, where, u), add_vectors<space, Base, Signed, uint16_t>(forms, where, s);
    add_vectors<space, Base, T, uint32_t>(forms, where, u), add_vectors<space, Base, Signed, uint32_t>(forms, where, s);
    add_vectors<space, Base, T, uint64_t>(forms, where, u), add_vectors<space, Base, Signed, uint64_t>(forms, where, s);
  };
  small("u8", "s8", uint8_t(), int8_t()), small("u16", "s16", uint16_t(), int16_t());
  add_vectors<space, Base, uint32_t, uint32_t>(forms, where, "u32"), add_vectors<space, Base, uint32_t, uint64_t>(forms, where, "u32");
  add_vectors<space, Base, int32_t, uint32_t>(forms, where, "s32"), add_vectors<space, Base, int32_t, uint64_t>(forms, where, "s32");
  add_vectors<space, Base, uint64_t, uint64_t>(forms, where, "u64");
}

// ---- one thread after the other

template <Space space, class Base, class T, auto f> void change(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    unsigned char* at = place<space>(w, w.lanes<const Base>(i.at[1])[l] + i.offset, sizeof(T));
    T old;
    memcpy(&old, at, sizeof old);
    const T made = f(old, w.lanes<const T>(i.at[2])[l]);
    memcpy(at, &made, sizeof made);
    w.lanes<T>(i.at[0])[l] = old;
  }
}
template <auto f, class T> void add_change(Forms& forms, const string& word, const string& type) {
  forms["atom.shared." + word + "." + type + "/4"] = {change<kShared, uint32_t, T, f>, {sizeof(T), 4, sizeof(T)}};
  forms["atom.shared." + word + "." + type + "/8"] = {change<kShared, uint64_t, T, f>, {sizeof(T), 8, sizeof(T)}};
  forms["atom." + word + "." + type + "/8"] = {change<kAnywhere, uint64_t, T, f>, {sizeof(T), 8, sizeof(T)}};
}
template <class T> void add_changes(Forms& forms, const string& type) {
  add_change<[](T a, T b) { return (T)(a + b); }, T>(forms, "add", type);
  add_change<[](T a, T b) { return a < b ? a : b; }, T>(forms, "min", type);
  add_change<[](T a, T b) { return a < b ? b : a; }, T>(forms, "max", type);
  add_change<[](T a, T b) { return a < b ? (T)(a + 1) : (T)0; }, T>(forms, "inc", type);
  add_change<[](T, T b) { return b; }, T>(forms, "exch", type);
}

// ---- asynchronous copies

template <uint32_t bytes> void copy_begin(Warp& w, const Instruction& i, Lanes on) {
  const uint32_t *to = w.lanes<const uint32_t>(i.at[0]), *valid = w.lanes<const uint32_t>(i.at[3]);
  const uint64_t* from = w.lanes<const uint64_t>(i.at[1]);
  if (i.offset) fault("an asynchronous copy with an offset in its address");
  if (*w.lanes<const uint32_t>(i.at[2]) != bytes) fault("an asynchronous copy of another number of bytes than %u", bytes);
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    if (valid[l] > bytes) fault("an asynchronous copy of %u of %u bytes", valid[l], bytes);
    window(w, to[l], bytes);
    w.copies.push_back({l, to[l], bytes, valid[l], w.committed[l], anywhere(from[l], bytes)});
  }
}
void copy_commit(Warp& w, const Instruction&, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l) w.committed[l] += on >> l & 1;
}
// Those of its groups that it waits for land now, in the order in which they were begun.
void copy_land(Warp& w, Lanes on, uint32_t left, bool all) {
  std::erase_if(w.copies, [&](const Copy& copy) {
    if (!(on >> copy.lane & 1) || (!all && copy.group + (uint64_t)left >= w.committed[copy.lane])) return false;
    unsigned char* to = window(w, copy.to, copy.bytes);
    memcpy(to, copy.from, copy.valid);
    memset(to + copy.valid, 0, copy.bytes - copy.valid);
    return true;
  });
}
void copy_wait(Warp& w, const Instruction& i, Lanes on) { copy_land(w, on, *w.lanes<const uint32_t>(i.at[0]), false); }
void copy_wait_all(Warp& w, const Instruction&, Lanes on) { copy_land(w, on, 0, true); }

// ---- registers of other widths

template <class Half, class Whole> void join(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l)
    if (on >> l & 1) w.lanes<Whole>(i.at[0])[l] = w.lanes<const Half>(i.at[1])[l] | (Whole)w.lanes<const Half>(i.at[2])[l] << 8 * sizeof(Half);
}
template <class Half, class Whole> void split(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    const Whole whole = w.lanes<const Whole>(i.at[2])[l];
    w.lanes<Half>(i.at[0])[l] = (Half)whole, w.lanes<Half>(i.at[1])[l] = (Half)(whole >> 8 * sizeof(Half));
  }
}

// ---- addresses

void keep_address(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l) if (on >> l & 1) w.lanes<uint64_t>(i.at[0])[l] = w.lanes<const uint64_t>(i.at[1])[l];
}
void from_shared(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l)
    if (on >> l & 1) w.lanes<uint64_t>(i.at[0])[l] = (uint64_t)w.block->shared + w.lanes<const uint64_t>(i.at[1])[l];
}
void to_shared(Warp& w, const Instruction& i, Lanes on) {
  for (unsigned l = 0; l < kLanes; ++l)
    if (on >> l & 1) w.lanes<uint64_t>(i.at[0])[l] = w.lanes<const uint64_t>(i.at[1])[l] - (uint64_t)w.block->shared;
}

}  // namespace

void add_moves(Forms& forms) {
  add_space<kShared, uint32_t>(forms, "shared"), add_space<kShared, uint64_t>(forms, "shared"), add_space<kAnywhere, uint64_t>(forms, "anywhere");
  add_changes<uint32_t>(forms, "u32"), add_changes<uint64_t>(forms, "u64");
  for (const char* by : {"ca", "cg"}) {
    const string word = string("cp.async.") + by + ".shared.global/";
    forms[word + "4"] = {copy_begin<4>, {4, 8, 4, 4}}, forms[word + "8"] = {copy_begin<8>, {4, 8, 4, 4}};
    forms[word + "16"] = {copy_begin<16>, {4, 8, 4, 4}};
  }
  forms["cp.async.commit_group"] = {copy_commit, {}};
  forms["cp.async.wait_group"] = {copy_wait, {4}};
  forms["cp.async.wait_all"] = {copy_wait_all, {}};
  forms["mov.b32/join"] = {join<uint16_t, uint32_t>, {4, 2, 2}}, forms["mov.b64/join"] = {join<uint32_t, uint64_t>, {8, 4, 4}};
  forms["mov.b32/split"] = {split<uint16_t, uint32_t>, {2, 2, 4}}, forms["mov.b64/split"] = {split<uint32_t, uint64_t>, {4, 4, 8}};
  for (const char* word : {"cvta.to.global.u64", "cvta.global.u64", "cvta.param.u64", "cvta.to.param.u64"}) forms[word] = {keep_address, {8, 8}};
  forms["cvta.shared.u64"] = {from_shared, {8, 8}}, forms["cvta.to.shared.u64"] = {to_shared, {8, 8}};
}

}  // namespace interpreter
