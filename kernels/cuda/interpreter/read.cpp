// A text of PTX to kernels. What it does not know it names, with the line: nothing is skipped but what has no effect on results.
#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "kernel.h"

namespace interpreter {
namespace {

using std::string;
using std::string_view;

// ---- words

struct Words {
  string_view text;
  size_t at = 0;
  uint32_t line = 1;

  static bool is_of_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '$' || c == '%'; }
  void skip() {
    for (; at < text.size(); ++at) {
      if (text[at] == '\n') ++line;
      else if (text.substr(at, 2) == "//") { while (at + 1 < text.size() && text[at + 1] != '\n') ++at; }
      else if (!isspace((unsigned char)text[at])) return;
    }
  }
  string_view peek() {
    skip();
    size_t end = at;
    if (end < text.size() && text[end] == '"') {
      for (++end; end < text.size() && text[end] != '"';) ++end;
      return text.substr(at, std::min(end + 1, text.size()) - at);
    }
    // `L1::no_allocate` is of one word, `label:` is not.
    for (; end < text.size(); ++end) {
      if (is_of_word(text[end])) continue;
      if (text.substr(end, 2) == "::") { ++end; continue; }
      break;
    }
    return text.substr(at, std::max<size_t>(end - at, at < text.size()));
  }
  string_view next() {
    const string_view word = peek();
    at += word.size();
    return word;
  }
  bool take(string_view word) { return peek() == word && (next(), true); }
  void want(string_view word) {
    const string_view found = next();
    if (found != word) fault("PTX line %u: `%.*s` where `%.*s` is wanted", line, (int)found.size(), found.data(), (int)word.size(), word.data());
  }
  string_view rest_of_line() {
    const size_t begin = at, end = std::min(text.find('\n', at), text.size());
    at = end;
    return text.substr(begin, end - begin);
  }
  // What stands between braces that are open already.
  void skip_block() {
    for (unsigned open = 1; open;) {
      const string_view word = next();
      if (word.empty()) return;
      open += word == "{", open -= word == "}";
    }
  }
};

uint64_t number(string_view word) {
  uint64_t value = 0;
  const bool is_hex = word.starts_with("0x") || word.starts_with("0f") || word.starts_with("0d");
  if (is_hex) word.remove_prefix(2);
  if (word.ends_with("U")) word.remove_suffix(1);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value, is_hex ? 16 : 10);
  if (error != std::errc() || end != word.data() + word.size()) fault("`%.*s` is no number", (int)word.size(), word.data());
  return value;
}

uint32_t bytes_of(string_view type) {
  if (type == ".pred") return kPredicate;
  if (type.size() < 3) fault("no type: %.*s", (int)type.size(), type.data());
  return (uint32_t)number(type.substr(2)) / 8;
}

// ---- a kernel

struct Register { uint32_t at; uint8_t bytes; };
// An operand as it is written.
struct Operand {
  enum { kRegister, kNumber, kSymbol } kind;
  Register reg = {};
  uint64_t value = 0;  // of a number, of a parameter its offset, of a shared window where it begins
  bool is_parameter = false;
};

struct Reader {
  Reader(Words& words, const std::set<string, std::less<>>& windows) : words(words), windows(windows) {}
  Words& words;
  const std::set<string, std::less<>>& windows;  // of shared memory; each begins at 0
  Kernel kernel;
  std::map<string, uint64_t, std::less<>> parameters;
  std::vector<std::map<string, Register, std::less<>>> scopes{1};
  struct Numbered { string prefix; uint32_t from, count; uint8_t bytes; };
  std::vector<Numbered> numbered;  // %r<80> declares as many
  std::map<std::pair<uint8_t, uint64_t>, uint32_t> constants;
  std::map<uint64_t, uint32_t> addresses;
  std::map<string, uint32_t, std::less<>> labels;
  std::vector<std::pair<uint32_t, string>> jumps;
  uint32_t file = 0, line = 0;

  uint32_t room(uint8_t bytes, uint32_t count = 1) {
    // Whole lines of a cache, so that lanes are read side by side.
    const uint32_t at = kernel.register_bytes, one = bytes == kPredicate ? 64 : std::max(bytes * kLanes, 64u);
    kernel.register_bytes += count * one;
    return at;
  }

  std::optional<Register> register_of(string_view name) {
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    for (const Numbered& n : numbered) {
      if (!name.starts_with(n.prefix)) continue;
      const string_view digits = name.substr(n.prefix.size());
      if (digits.empty() || !std::all_of(digits.begin(), digits.end(), [](char c) { return isdigit((unsigned char)c); })) continue;
      const uint64_t which = number(digits);
      if (which >= n.count) break;
      return Register{n.from + (uint32_t)which * (n.bytes == kPredicate ? 64 : std::max(n.bytes * kLanes, 64u)), n.bytes};
    }
    for (const char* special : {"%tid.x", "%tid.y", "%tid.z", "%ntid.x", "%ntid.y", "%ntid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z",
                                "%nctaid.x", "%nctaid.y", "%nctaid.z", "%laneid"}) {
      if (name != special) continue;
      Special made{{}, room(4)};
      name.substr(1).copy(made.name, sizeof made.name - 1);
      kernel.specials.push_back(made);
      return scopes[0][string(name)] = {made.at, 4};
    }
    return {};
  }

  void declare_registers() {
    const string_view type = words.next();
    do {
      const string_view name = words.next();
      const uint8_t bytes = (uint8_t)bytes_of(type);
      if (words.take("<")) {
        const uint32_t count = (uint32_t)number(words.next());
        words.want(">");
        numbered.push_back({string(name), room(bytes, count), count, bytes});
      } else {
        scopes.back()[string(name)] = {room(bytes), bytes};
      }
    } while (words.take(","));
    words.want(";");
  }

  Operand operand() {
    const bool is_less = words.take("-");
    const string_view name = words.next();
    if (name.empty()) fault("PTX line %u: an operand is missing", words.line);
    if (isdigit((unsigned char)name[0])) {
      const uint64_t value = number(name);
      return {Operand::kNumber, {}, is_less ? 0 - value : value};
    }
    if (const auto reg = register_of(name)) return {Operand::kRegister, *reg};
    if (const auto found = parameters.find(name); found != parameters.end()) return {Operand::kSymbol, {}, found->second, true};
    if (windows.contains(name)) return {Operand::kSymbol, {}, 0};
    fault("PTX line %u: nothing is called `%.*s`", words.line, (int)name.size(), name.data());
  }

  uint32_t constant(uint64_t value, uint8_t bytes) {
    if (bytes && bytes < 8) value &= ((uint64_t)1 << 8 * bytes) - 1;
    const auto [found, is_new] = constants.try_emplace({bytes, value}, 0);
    if (is_new) kernel.constants.push_back({found->second = room(bytes), bytes, value});
    return found->second;
  }
  uint32_t address(uint64_t offset) {
    const auto [found, is_new] = addresses.try_emplace(offset, 0);
    if (is_new) kernel.addresses.push_back({found->second = room(8), 8, offset});
    return found->second;
  }

  void read_instruction() {
    Instruction made;
    made.file = file, made.line = line;
    const uint32_t text_line = words.line;
    if (words.take("@")) {
      made.guard_is_not = words.take("!");
      const auto guard = register_of(words.next());
      if (!guard || guard->bytes != kPredicate) fault("PTX line %u: a guard that is no predicate", text_line);
      made.guard = guard->at;
    }
    string word(words.next());
    if (word == "bra" || word == "bra.uni") jumps.emplace_back(kernel.code.size(), string(words.next()));
    std::vector<Operand> operands;
    bool splits = false, joins = false;  // into a vector, of a vector
    for (; !words.take(";"); words.take(",")) {
      if (words.take("{")) {
        (operands.empty() ? splits : joins) = true;
        do operands.push_back(operand()); while (words.take(","));
        words.want("}");
      } else if (words.take("[")) {
        operands.push_back(operand());
        if (words.take("+")) {
          const Operand more = operand();
          if (more.kind != Operand::kNumber || made.offset) fault("PTX line %u: an address that is not understood", text_line);
          made.offset = (int64_t)more.value;
        }
        words.want("]");
      } else {
        operands.push_back(operand());
        if (words.take("|")) operands.push_back(operand()), word += "/told";
      }
    }
    if (word.starts_with("mov.")) word += splits ? "/split" : joins ? "/join" : "";
    const string known = key(word, operands);
    const Form* found = form(known);
    if (!found) fault("PTX line %u: the interpreter does not know `%s`", text_line, known.c_str());
    if (found->operands.size() != operands.size() || operands.size() > std::size(made.at))
      fault("PTX line %u: `%s` has %zu operands", text_line, word.c_str(), operands.size());
    made.perform = found->perform, made.kind = found->kind, made.is_aligned = found->is_aligned, made.count = (uint8_t)operands.size();
    for (size_t n = 0; n < operands.size(); ++n) {
      const Operand& o = operands[n];
      const uint8_t bytes = found->operands[n];
      if (o.kind == Operand::kRegister && o.reg.bytes != bytes)
        fault("PTX line %u: operand %zu of `%s` has %u bytes and not %u", text_line, n, word.c_str(), o.reg.bytes, bytes);
      made.at[n] = o.kind == Operand::kRegister ? o.reg.at : o.is_parameter ? address(o.value) : constant(o.value, bytes);
    }
    static std::map<string, int, std::less<>> words_seen;  // which outlive the text
    made.word = words_seen.try_emplace(word).first->first.c_str();
    kernel.code.push_back(made);
  }

  // Under which name an opcode is known: loads and stores by what they move, between what.
  static string key(const string& word, const std::vector<Operand>& operands) {
    const auto bytes = [&](size_t n) {
      const Operand& o = operands.at(n);
      return std::to_string(o.kind == Operand::kRegister ? o.reg.bytes : o.is_parameter ? 8 : 4);
    };
    std::vector<string> parts;
    for (size_t at = 0; at < word.size();) {
      const size_t end = std::min(word.find('.', at), word.size());
      parts.push_back(word.substr(at, end - at)), at = end + 1;
    }
    const auto has = [&](const char* part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
    string type = parts.back();
    if (parts[0] == "cp" && has("global")) return word + "/" + std::to_string(operands.at(2).value);
    if (parts[0] == "atom") {
      for (const char* what : {"add", "min", "max", "inc", "exch"})
        if (has(what)) return string("atom.") + (has("shared") ? "shared." : "") + what + "." + type + "/" + bytes(1);
    }
    if (parts[0] != "ld" && parts[0] != "st") return word;
    if (type[0] == 'f' || type[0] == 'b') type[0] = 'u';
    const unsigned n = has("v2") ? 2 : has("v4") ? 4 : 1;
    const bool is_load = parts[0] == "ld", is_shared = has("shared") || has("shared::cta");
    // A number that is stored is as wide as the type.
    const Operand& value = operands.at(is_load ? 0 : 1);
    const string width = value.kind == Operand::kRegister ? bytes(is_load ? 0 : 1) : std::to_string(std::max(2u, (unsigned)number(string_view(type).substr(1)) / 8));
    return parts[0] + (is_shared ? ".shared" : ".anywhere") + (n > 1 ? ".v" + std::to_string(n) : "") + "." + type + "/" + width + "/" +
           (is_shared ? bytes(is_load ? n : 0) : "8");
  }

  void read_body() {
    for (;;) {
      const string_view word = words.peek();
      if (word.empty()) fault("PTX: a kernel without an end");
      if (word == "{") words.next(), scopes.emplace_back();
      else if (word == "}") {
        words.next(), scopes.pop_back();
        if (scopes.empty()) break;
      } else if (word == ".reg") words.next(), declare_registers();
      else if (word == ".loc") {
        words.next(), file = (uint32_t)number(words.next()), line = (uint32_t)number(words.next());
        words.rest_of_line();
      } else if (word == ".pragma") words.rest_of_line();
      else if (word[0] == '$') {
        labels[string(words.next())] = (uint32_t)kernel.code.size();
        words.want(":");
      } else if (word[0] == '.') fault("PTX line %u: the interpreter does not know `%.*s`", words.line, (int)word.size(), word.data());
      else read_instruction();
    }
    std::vector<Instruction>& code = kernel.code;
    code.emplace_back().kind = Instruction::kReturn;
    for (const auto& [label, at] : labels) code[at].is_target = true;
    for (const auto& [from, label] : jumps) {
      const auto found = labels.find(label);
      if (found == labels.end()) fault("PTX: no label %s", label.c_str());
      code[from].target = found->second;
      code[from + 1].is_target = true;
    }
    for (Instruction& i : code) i.is_target |= i.kind == Instruction::kTogether || i.kind == Instruction::kBarrier;
  }

  void read_parameters() {
    while (!words.take(")")) {
      words.want(".param");
      uint32_t align = 0, bytes = 0;
      for (string_view word = words.next();; word = words.next()) {
        if (word == ".align") align = (uint32_t)number(words.next());
        else if (word[0] == '.') bytes = word == ".ptr" || word == ".global" ? bytes : bytes_of(word);
        else {
          const string name(word);
          if (!align) align = bytes;
          if (words.take("[")) bytes *= (uint32_t)number(words.next()), words.want("]");
          kernel.parameters_bytes = (kernel.parameters_bytes + align - 1) / align * align;
          parameters[name] = kernel.parameters_bytes;
          kernel.parameter_at.push_back(kernel.parameters_bytes), kernel.parameter_bytes.push_back(bytes);
          kernel.parameters_bytes += bytes;
          break;
        }
      }
      words.take(",");
    }
  }

  void read_kernel() {
    kernel.name = words.next();
    if (words.take("(")) read_parameters();
    while (!words.take("{")) {
      const string_view word = words.next();
      if (word == ".maxntid") {
        kernel.threads_max = 1;
        do kernel.threads_max *= (uint32_t)number(words.next()); while (words.take(","));
      } else if (word == ".minnctapersm" || word == ".maxnreg") words.next();
      else fault("PTX line %u: the interpreter does not know `%.*s`", words.line, (int)word.size(), word.data());
    }
    read_body();
  }
};

}  // namespace

std::vector<Kernel> read(string_view text) {
  Words words{text};
  std::vector<Kernel> kernels;
  std::set<string, std::less<>> windows;
  const auto files = std::make_shared<std::map<uint32_t, string>>();
  for (;;) {
    const string_view word = words.next();
    if (word.empty()) break;
    if (word == ".version" || word == ".target" || word == ".address_size") words.rest_of_line();
    else if (word == ".file") {
      const uint32_t n = (uint32_t)number(words.next());
      const string_view path = words.next();
      const size_t name = path.rfind('/') == path.npos ? 1 : path.rfind('/') + 1;
      (*files)[n] = string(path.substr(name, path.size() - 1 - name));
      words.rest_of_line();
    } else if (word == ".section") {
      while (words.next() != "{") {}
      words.skip_block();
    } else if (word == ".extern") {
      // Shared memory of which the launch says how much there is. Of a size of its own our kernels have none.
      words.want(".shared");
      if (words.take(".align")) words.next();
      words.next();
      windows.emplace(words.next());
      words.want("["), words.want("]"), words.want(";");
    } else if (word == ".visible" || word == ".weak") {
    } else if (word == ".entry") {
      Reader reader(words, windows);
      reader.kernel.files = files;
      reader.read_kernel();
      kernels.push_back(std::move(reader.kernel));
    } else fault("PTX line %u: the interpreter does not know `%.*s`", words.line, (int)word.size(), word.data());
  }
  return kernels;
}

}  // namespace interpreter
