// Blocks, warps, and which lanes go next.
//
// Blocks run one after the other, their warps in turn up to a barrier. Lanes that went apart go on by groups: the one that is
// furthest back first, so that they meet again where a GPU's would. Who must act with others, and is there alone, waits.
#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "kernel.h"

namespace interpreter {

void fault(const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  throw Fault(line);
}

namespace {

constexpr uint64_t kBackwardMax = 1u << 26;  // jumps back in one block; more are a loop without an end

// The group that goes next, if one can.
Group* next_of(Warp& w) {
  Group* next = nullptr;
  for (Group& g : w.groups) if (!g.waits && (!next || g.next < next->next)) next = &g;
  return next;
}

// All groups that stand there are one, which need not wait.
void meet(Warp& w, uint32_t at) {
  Lanes lanes = 0;
  for (const Group& g : w.groups) if (g.next == at) lanes |= g.lanes;
  std::erase_if(w.groups, [&](const Group& g) { return g.next == at; });
  w.groups.push_back({at, lanes, false});
}

// Which lanes must be there for what they do together.
Lanes together(Warp& w, const Instruction& i, Lanes on) {
  if (i.is_aligned) return w.live;
  const uint32_t* named = w.lanes<uint32_t>(i.at[i.count - 1]);
  Lanes mask = 0;
  bool is_first = true;
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(on >> l & 1)) continue;
    if (!is_first && named[l] != mask) fault("lanes name others: %08x and %08x", mask, named[l]);
    mask = named[l], is_first = false;
  }
  if (on & ~mask) fault("lanes %08x are not among those that they name, %08x", on & ~mask, mask);
  return mask & w.live;
}

// A group as far as it goes. False: it stands at a barrier of the block, with all of its warp.
bool run(Warp& w, Group* g, uint64_t& backward) {
  const std::vector<Instruction>& code = w.block->launch.kernel->code;
  for (;;) {
    const Instruction& i = code[g->next];
    w.doing = &i;
    if (i.is_target && w.groups.size() > 1) {
      const uint32_t at = g->next;
      meet(w, at);
      g = next_of(w);
      if (g->next != at) return true;
    }
    Lanes on = g->lanes;
    if (i.guard != kNowhere) on &= i.guard_is_not ? ~w.predicate(i.guard) : w.predicate(i.guard);
    switch (i.kind) {
      case Instruction::kPlain:
        if (on) i.perform(w, i, on);
        break;
      case Instruction::kBranch:
        if (on && i.target <= g->next && ++backward > kBackwardMax) fault("a loop without an end");
        if (on == g->lanes) {
          g->next = i.target;
          if (w.groups.size() > 1) return true;
          continue;
        }
        if (!on) break;
        g->lanes &= ~on, ++g->next;
        w.groups.push_back({i.target, on, false});
        return true;
      case Instruction::kReturn:
        w.live &= ~on, g->lanes &= ~on, ++g->next;
        if (g->lanes) continue;
        std::erase_if(w.groups, [](const Group& g) { return !g.lanes; });
        // Who waits for others need not wait for those who have left.
        for (Group& g : w.groups) g.waits = false;
        return true;
      case Instruction::kTogether: {
        if (!on) break;
        const Lanes needed = together(w, i, on);
        if (on != needed || on != g->lanes) return g->waits = true;
        i.perform(w, i, on);
        break;
      }
      case Instruction::kBarrier:
        if (!on) break;
        if (on != w.live || on != g->lanes) return g->waits = true;
        w.barrier = *w.lanes<uint32_t>(i.at[0]);
        ++g->next;
        return false;
      case Instruction::kTrap:
        if (on) fault("trap");
        break;
    }
    ++g->next;
  }
}

void run_warp(Warp& w, uint64_t& backward) {
  while (!w.groups.empty()) {
    Group* g = next_of(w);
    if (!g) fault("lanes wait for others that do not come");
    if (!run(w, g, backward)) return;
  }
}

void begin(Warp& w, Block& block, uint32_t number) {
  const Launch& launch = block.launch;
  const uint32_t threads = launch.block.x * launch.block.y * launch.block.z, first = number * kLanes;
  w.block = &block, w.number = number, w.barrier = kNowhere;
  w.live = threads - first >= kLanes ? kAll : ((Lanes)1 << (threads - first)) - 1;
  w.groups.assign(1, {0, w.live, false});
  w.copies.clear();
  std::fill(std::begin(w.committed), std::end(w.committed), 0);
  for (const Special& special : launch.kernel->specials) {
    const std::string_view name = special.name;
    const auto of = [](const Extent& e, char axis) { return axis == 'x' ? e.x : axis == 'y' ? e.y : e.z; };
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint32_t thread = first + l;
      const Extent place = {thread % launch.block.x, thread / launch.block.x % launch.block.y, thread / (launch.block.x * launch.block.y)};
      w.lanes<uint32_t>(special.at)[l] = name == "laneid"             ? l
                                         : name.starts_with("tid")    ? of(place, name.back())
                                         : name.starts_with("ntid")   ? of(launch.block, name.back())
                                         : name.starts_with("ctaid")  ? of(block.index, name.back())
                                                                      : of(launch.grid, name.back());
    }
  }
}

void run_block(Block& block, std::vector<Warp>& warps) {
  uint64_t backward = 0;
  for (uint32_t n = 0; n < warps.size(); ++n) begin(warps[n], block, n);
  for (;;) {
    // Another warp is first in each block.
    for (uint32_t n = 0; n < warps.size(); ++n) {
      Warp& w = warps[(n + block.index.x + block.index.y) % warps.size()];
      try {
        run_warp(w, backward);
      } catch (const Fault& why) {
        const auto& files = *block.launch.kernel->files;
        const auto file = files.find(w.doing ? w.doing->file : 0);
        fault("%s; kernel %s, block (%u, %u, %u), warp %u, `%s` at %s:%u", why.what(), block.launch.kernel->name.c_str(), block.index.x,
              block.index.y, block.index.z, w.number, w.doing ? w.doing->word : "", file == files.end() ? "?" : file->second.c_str(),
              w.doing ? w.doing->line : 0);
      }
    }
    uint32_t at = kNowhere;
    for (Warp& w : warps) {
      if (!w.live) continue;
      if (at != kNowhere && w.barrier != at) fault("kernel %s: warps wait at barriers %u and %u", block.launch.kernel->name.c_str(), at, w.barrier);
      at = w.barrier;
    }
    if (at == kNowhere) return;
  }
}

}  // namespace

void run(const Launch& launch) {
  const Kernel& kernel = *launch.kernel;
  constexpr uint64_t kWidest = 1024;
  Block block{launch, {}, std::vector<unsigned char>(launch.shared_bytes + kWidest)};
  block.shared = (unsigned char*)(((uint64_t)block.shared_memory.data() + kWidest - 1) / kWidest * kWidest);
  block.shared_bytes = launch.shared_bytes;
  std::vector<Warp> warps((launch.block.x * launch.block.y * launch.block.z + kLanes - 1) / kLanes);
  std::vector<unsigned char> registers(warps.size() * kernel.register_bytes + 64);
  unsigned char* first = (unsigned char*)(((uint64_t)registers.data() + 63) / 64 * 64);
  for (uint32_t n = 0; n < warps.size(); ++n) {
    Warp& w = warps[n];
    w.registers = first + n * kernel.register_bytes, w.doing = nullptr;
    for (const Constant& c : kernel.constants) {
      if (c.bytes == kPredicate) w.predicate(c.at) = c.value ? kAll : 0;
      else for (uint32_t l = 0; l < kLanes; ++l) memcpy(w.registers + c.at + l * c.bytes, &c.value, c.bytes);
    }
    for (const Constant& c : kernel.addresses)
      for (uint32_t l = 0; l < kLanes; ++l) w.lanes<uint64_t>(c.at)[l] = (uint64_t)launch.parameters.data() + c.value;
  }
  for (block.index.z = 0; block.index.z < launch.grid.z; ++block.index.z)
    for (block.index.y = 0; block.index.y < launch.grid.y; ++block.index.y)
      for (block.index.x = 0; block.index.x < launch.grid.x; ++block.index.x) run_block(block, warps);
}

}  // namespace interpreter
