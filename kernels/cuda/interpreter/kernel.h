// Kernels as nvcc compiled them, run without a GPU: their PTX is read, and each instruction is performed for a warp's 32 lanes.
//
//     runtime.cpp   stands for CUDA's runtime: takes what nvcc registers, and puts launches into the order of the driver's stand-in
//     read.cpp      a text of PTX to kernels: names become places, instructions become functions
//     forms.cpp     what instructions compute, lane by lane
//     moves.cpp     what moves between registers, shared memory and memory
//     warps.cpp     what lanes do together
//     run.cpp       blocks, warps, and which lanes go next
//
// The emulation (host/) compiles the kernels' source with another compiler, and looks at every access; this takes what the
// GPU's compiler made of it, and looks at what is computed. Addresses are the host's, but for the shared window, which
// `.shared` counts from its first byte.
#pragma once
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace interpreter {

constexpr unsigned kLanes = 32;
constexpr uint32_t kAll = ~0u, kNowhere = ~0u;
using Lanes = uint32_t;  // a bit for each

struct Warp;

struct Instruction {
  enum Kind : uint8_t { kPlain, kBranch, kReturn, kBarrier, kTogether, kTrap };
  // For the lanes that are given, or, of what lanes do together, for all that are named.
  void (*perform)(Warp&, const Instruction&, Lanes) = nullptr;
  Kind kind = kPlain;
  bool is_target = false;     // where lanes that went apart may meet
  bool guard_is_not = false;  // the lanes whose guard is false
  bool is_aligned = false;    // of kTogether: all lanes that there are, not those that its last operand names
  uint8_t count = 0;
  uint32_t guard = kNowhere;
  uint32_t at[16] = {};  // operands: where in a warp's registers their lanes lie; a vector's one by one
  int64_t offset = 0;    // of an address
  uint32_t target = 0;   // of a branch
  uint32_t file = 0, line = 0;
  const char* word = "";  // the opcode
};

// What a warp finds when it begins: a value for each lane of a register.
struct Special { char name[9]; uint32_t at; };
struct Constant { uint32_t at, bytes; uint64_t value; };

struct Kernel {
  std::string name;
  std::vector<Instruction> code;
  std::vector<uint32_t> parameter_bytes, parameter_at;
  uint32_t parameters_bytes = 0, register_bytes = 0;
  uint32_t threads_max = 1024;
  std::vector<Special> specials;
  std::vector<Constant> constants;
  std::vector<Constant> addresses;  // of parameters: `value` is the offset
  std::shared_ptr<std::map<uint32_t, std::string>> files;
};

struct Extent { uint32_t x = 1, y = 1, z = 1; };
struct Launch {
  const Kernel* kernel;
  Extent grid, block;
  uint32_t shared_bytes;  // asked for by who launches
  std::vector<unsigned char> parameters;
};

struct Block {
  const Launch& launch;
  Extent index;
  std::vector<unsigned char> shared_memory;
  unsigned char* shared = nullptr;  // its first byte, aligned as the widest window asks
  uint32_t shared_bytes = 0;
};

// Lanes that stand at one instruction. Who waits for others is left alone until they come.
struct Group { uint32_t next; Lanes lanes; bool waits; };
// An asynchronous copy, which lands as late as it may: when its thread waits for it.
struct Copy { uint32_t lane, to, bytes, valid, group; const unsigned char* from; };

struct Warp {
  Block* block;
  uint32_t number;
  Lanes live;
  std::vector<Group> groups;
  std::vector<Copy> copies;
  uint32_t committed[kLanes];
  uint32_t barrier = kNowhere;  // of the block, at which it waits
  unsigned char* registers;
  const Instruction* doing;

  template <class T> T* lanes(uint32_t at) { return (T*)(registers + at); }
  Lanes& predicate(uint32_t at) { return *(Lanes*)(registers + at); }
};

struct Fault : std::runtime_error { using std::runtime_error::runtime_error; };
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- what words mean

// How many bytes a lane of an operand has; a predicate has a bit.
constexpr uint8_t kPredicate = 0;
struct Form {
  void (*perform)(Warp&, const Instruction&, Lanes);
  std::vector<uint8_t> operands;
  Instruction::Kind kind = Instruction::kPlain;
  bool is_aligned = false;
};
// Of an opcode, or nothing.
const Form* form(std::string_view word);
void add_moves(std::map<std::string, Form, std::less<>>& forms);
void add_together(std::map<std::string, Form, std::less<>>& forms);

std::vector<Kernel> read(std::string_view text);
void run(const Launch& launch);  // throws a Fault

// `bytes` of the shared window.
inline unsigned char* window(Warp& w, uint32_t at, uint32_t bytes) {
  if (at % bytes || at + (uint64_t)bytes > w.block->shared_bytes) fault("%u bytes at %u of a shared window of %u", bytes, at, w.block->shared_bytes);
  return w.block->shared + at;
}
// `bytes` anywhere; whether somebody may touch them the host's memory says, as the driver's stand-in keeps it.
inline unsigned char* anywhere(uint64_t at, uint32_t bytes) {
  if (at % bytes) fault("%u bytes at 0x%llx, which is not aligned", bytes, (unsigned long long)at);
  return (unsigned char*)at;
}

}  // namespace interpreter
