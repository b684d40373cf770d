// The compiler's own calls, answered. Kernels are compiled with -fsanitize=thread,alignment and linked with neither of
// these libraries: every read and write of a kernel arrives here, and kernels need no types of their own.
#include <dlfcn.h>

#include "state.h"

namespace emulation {

// The line that an access was compiled from, where addr2line is there to say it.
std::string line_of(const void* code) {
  Dl_info info{};
  if (!code || !dladdr(code, &info) || !info.dli_fbase) return "";
  FILE* pipe = popen(text("addr2line -s -e '%s' %#zx 2>/dev/null", info.dli_fname, (size_t)code - 1 - (size_t)info.dli_fbase).c_str(), "r");
  if (!pipe) return "";
  char line[256] = "";
  if (!fgets(line, sizeof line, pipe)) line[0] = 0;
  pclose(pipe);
  line[strcspn(line, " \n")] = 0;
  return line[0] == '?' ? "" : line;
}

}  // namespace emulation

#define HERE __builtin_return_address(0)
#define ACCESS(n)                                                                            \
  void __tsan_read##n(void* p) { emulation::look(p, n, false, HERE); }                       \
  void __tsan_write##n(void* p) { emulation::look(p, n, true, HERE); }                       \
  void __tsan_unaligned_read##n(void* p) { emulation::look(p, n, false, HERE); }             \
  void __tsan_unaligned_write##n(void* p) { emulation::look(p, n, true, HERE); }             \
  void __tsan_volatile_read##n(void* p) { emulation::look(p, n, false, HERE); }              \
  void __tsan_volatile_write##n(void* p) { emulation::look(p, n, true, HERE); }              \
  void __tsan_unaligned_volatile_read##n(void* p) { emulation::look(p, n, false, HERE); }    \
  void __tsan_unaligned_volatile_write##n(void* p) { emulation::look(p, n, true, HERE); }    \
  void __tsan_read_write##n(void* p) { emulation::look(p, n, false, HERE), emulation::look(p, n, true, HERE); }

// What the alignment check says of the place: the first part of a structure that both compilers share.
struct SourcePlace { const char* file; uint32_t line, column; };

extern "C" {
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void* p, unsigned long n) { emulation::look(p, (unsigned)n, false, HERE); }
void __tsan_write_range(void* p, unsigned long n) { emulation::look(p, (unsigned)n, true, HERE); }
void* __tsan_memcpy(void* to, const void* from, unsigned long n) {
  emulation::look(from, (unsigned)n, false, HERE), emulation::look(to, (unsigned)n, true, HERE);
  return memcpy(to, from, n);
}
void* __tsan_memset(void* to, int value, unsigned long n) { return emulation::look(to, (unsigned)n, true, HERE), memset(to, value, n); }
// The count in a shared_ptr, in which launch.cuh keeps arguments. A kernel's atomic operations are in cuda_runtime.h.
uint32_t __tsan_atomic32_fetch_add(uint32_t* p, uint32_t v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
uint64_t __tsan_atomic64_load(const uint64_t* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
uint32_t __tsan_atomic32_load(const uint32_t* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
void __tsan_atomic32_store(uint32_t* p, uint32_t v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
void __tsan_atomic64_store(uint64_t* p, uint64_t v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

static void misaligned(SourcePlace* place, void* p) {
  if (!emulation::me) return;
  const char* file = place->file ? place->file : "?";
  if (const char* slash = strrchr(file, '/')) file = slash + 1;
  emulation::fail("misaligned", "access at an address that is no multiple of its type's alignment", p,
                  emulation::text("%s:%u", file, place->line).c_str());
}
void __ubsan_handle_type_mismatch_v1(SourcePlace* place, void* p) { misaligned(place, p); }
void __ubsan_handle_type_mismatch_v1_abort(SourcePlace* place, void* p) { misaligned(place, p); }
}
